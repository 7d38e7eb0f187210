"""`make run`: generates the demo world if no catalogue is given, runs the DAG for real, and prints the verdict."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modit.core.errors import ModitError
from modit.core.names import PRESETS
from modit.core.window import named_window
from modit.release.verdict import data_docs, read_verdict, report_pages, verdict_text

REPOSITORY = Path(__file__).resolve().parent.parent
DAG_ID = "nightly_retrain"
# The small demo world for the smallest preset; what a person runs first has 20,000 items.
DEMO_ITEMS = {"tiny": 5_000}
AIRFLOW_LINE = re.compile(r"\S+Z \[(?P<level>\w+) *\] (?P<message>.*?) \[(?P<logger>[\w.]+)\] ")
SKIP_CHATTER = "No tasks to run"  # what Airflow says when a skip has left nothing to do
HOOK_CHATTER = ("Tmp dir root location", "Running command:", "Output:", "Command exited with return code 0", "{")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the whole job.

    Returns:
        0 when every task succeeded; Airflow's status, or 1, otherwise.
    """
    chosen = _parse(arguments)
    runs = Path(chosen.runs).resolve()
    environment = airflow_environment(runs)
    catalogue = Path(chosen.catalog).resolve() if chosen.catalog else _demo_world(runs, chosen.preset, environment)
    domains = "all" if chosen.domains == "all" else sorted(set(chosen.domains.split(",")))
    name = chosen.run or run_name(catalogue, chosen.preset, chosen.seed, domains, chosen.window)
    conf = {
        "catalogue": str(catalogue),
        "domains": domains,
        "seed": chosen.seed,
        "preset": chosen.preset,
        "run_root": str(runs),
        "run": name,
        "overrides": json.loads(chosen.overrides),
        "window": named_window(chosen.window),
    }
    migrate(environment)
    print(f"run {runs / name}", flush=True)
    status, log = run_dag(conf, environment)
    if status:
        print(f"\nFAILED: a task did not succeed (status {status}, whole log {log})", file=sys.stderr)
        print(f"the same command again resumes {runs / name}", file=sys.stderr)
        return status
    return _show(str(runs / name))


def airflow_environment(runs: Path) -> dict[str, str]:
    """Settings of an Airflow that lives inside the repository folder and needs no server.

    Args:
        runs: where runs live.
    """
    home = REPOSITORY / ".airflow"
    return {
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
        "AIRFLOW_HOME": str(home),
        # A person is watching, and a rerun resumes.
        "MODIT_RETRIES_MAX": "0",
        "MODIT_DEADLINE_HOURS": "0",
        # There is no server that could ask.
        "MODIT_REVIEW": "off",
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "MODIT_RUNS": str(runs),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)),
    }


def migrate(environment: dict[str, str]) -> None:
    """Makes Airflow's database, or brings it up to date."""
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def run_dag(conf: dict[str, Any], environment: dict[str, str]) -> tuple[int, Path]:
    """Runs the DAG once in this process's foreground, and shows what a person should see of its log.

    Args:
        conf: the run's params, `run` among them.
        environment: of `airflow_environment`.

    Returns:
        Airflow's status, 0 when no task failed; and the whole log.
    """
    log = Path(environment["AIRFLOW_HOME"]) / "logs" / f"{conf['run']}.log"
    command = [sys.executable, "-m", "airflow", "dags", "test", DAG_ID, "--conf", json.dumps(conf)]
    return _follow(command, environment, log), log


def run_name(catalogue: Path, preset: str, seed: int, domains: str | list[str], window: str = "") -> str:
    """Folder of a run, made of its arguments, so that the same command again resumes it."""
    parts = [
        catalogue.name,
        preset,
        f"seed{seed}",
        *([] if domains == "all" else domains),
        *([window] if window else []),
    ]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(parts))


def worth_showing(line: str) -> str | None:
    """What a person should see of a line of Airflow's log: the steps' own lines, warnings, errors and tracebacks."""
    parsed = AIRFLOW_LINE.match(line)
    if parsed is None:
        return line
    if parsed["logger"].endswith("SubprocessHook"):
        message = parsed["message"].rstrip()
        return None if message.startswith(HOOK_CHATTER) else message
    if parsed["message"].startswith(SKIP_CHATTER):
        return None
    return f"{parsed['level']}: {parsed['message'].rstrip()}" if parsed["level"] not in ("info", "debug") else None


def _follow(command: list[str], environment: dict[str, str], log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as whole,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        for line in process.stdout or ():
            whole.write(line)
            shown = worth_showing(line.rstrip("\n"))
            if shown is not None:
                print(shown, flush=True)
    return process.returncode


def _demo_world(runs: Path, preset: str, environment: dict[str, str]) -> Path:
    items = DEMO_ITEMS.get(preset, 20_000)
    folder = runs / f"demo-world-{items}"
    subprocess.run(
        [sys.executable, "-m", "modit.cli", "demo-world", "--out", str(folder), "--items", str(items)],
        env=environment,
        check=True,
    )
    return folder


def _show(run: str) -> int:
    try:
        verdict = read_verdict(run)
        print("", verdict_text(verdict), *(f"report:  {page}" for page in report_pages(run)), sep="\n")
        print(*(f"data docs: {page}" for page in data_docs(run)), sep="\n")
        print(f"review:  modit review --run {run}, then modit approve")
    except ModitError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the whole job under Airflow.")
    parser.add_argument("--catalog", default="", help="folder in the input contract; empty: the demo world")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domains", default="all", help="all, or names with commas between")
    parser.add_argument("--runs", default="runs", help="folder of runs and their cache")
    parser.add_argument("--run", default="", help="name of the run; empty: made of the arguments")
    parser.add_argument("--window", default="", help="days START:END, the end not included; empty: everything")
    parser.add_argument("--overrides", default="{}", help="JSON over the preset")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
