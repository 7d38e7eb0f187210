"""`make run`: runs a pipeline under Airflow, on the demo world if no catalogue is given, and shows what came out."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.registry import REGISTRY
from dags.local_airflow import airflow_environment, run_dag
from dags.progress import Progress
from modit.core.errors import ConfigError, ModitError
from modit.core.names import PRESETS, REGISTRATIONS
from modit.core.registry import Pipeline
from modit.core.run_config import RUN_FILE, json_object
from modit.core.runner import StepRunner
from modit.core.storage import digest_of
from modit.core.window import named_window
from modit.release.verdict import data_docs, read_verdict, report_pages, verdict_text

PARAMS = Path(os.environ.get("MODIT_PARAMS", "params.yaml"))
# The small demo world for the smallest preset; what a person runs first has 20,000 items.
DEMO_ITEMS = {"tiny": 5_000}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a pipeline.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        0 when every task succeeded; Airflow's status, or 1, otherwise; 2 when an argument is not allowed.
    """
    chosen = _parse(arguments)
    runs = Path(chosen.runs).resolve()
    environment = airflow_environment(runs)
    try:
        pipeline = REGISTRY.pipeline(chosen.pipeline or None)
        conf = _conf(chosen, runs, environment)
    except ModitError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    run = str(runs / conf["run"])
    print(f"run {run}", flush=True)
    if cached := cached_tasks(pipeline, run, conf):
        print(f"all {cached} tasks are cached: nothing to run")
        status, log = 0, None
    else:
        progress = Progress(sys.stdout, sys.stderr, steps=REGISTRY.of(pipeline.name).steps)
        try:
            status, log = run_dag(pipeline.job, conf, environment, progress)
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on: finished tasks are not repeated", file=sys.stderr)
            return 130
    shown = _show(run) if set(REGISTRATIONS) & set(pipeline.ends) else show_ends(run, pipeline)
    if status:
        print(f"\nthe run is not complete (whole log: {log})", file=sys.stderr)
        print("run the same command again when the cause is mended: finished tasks are not repeated", file=sys.stderr)
    return status or shown


def cached_tasks(pipeline: Pipeline, run: str, conf: dict[str, Any]) -> int:
    """How many tasks a run has, if none of them needs to run; else 0.

    Args:
        pipeline: of the run.
        run: its folder.
        conf: params of its DAG.
    """
    if not Path(run, RUN_FILE).is_file():
        return 0
    fields = {name: value for name, value in conf.items() if name not in ("run", "run_root")}
    try:
        runner = StepRunner(REGISTRY, run, PARAMS, fields | {"pipeline": pipeline.name, "promote": True})
        tasks = [
            (step.name, domain)
            for step in REGISTRY.of(pipeline.name).steps
            for domain in (runner.domains() if step.per_domain else (None,))
        ]
        if not all(runner.is_cached(*task) for task in tasks):
            return 0
    except ModitError:
        return 0  # the task that meets it says so
    return len(tasks)


def run_name(catalogue: str, preset: str, seed: int, domains: str | list[str], window: str = "", more: str = "") -> str:
    """Returns the folder of a run, made of its arguments, so that the same command again resumes it.

    Args:
        catalogue: address of the input.
        preset: size preset.
        seed: of the run.
        domains: "all", or their names.
        window: START:END, or empty.
        more: other things that distinguish the run, such as a digest of its overrides.
    """
    name = catalogue.rstrip("/").rsplit("/", 1)[-1]
    parts = [name, preset, f"seed{seed}", *([] if domains == "all" else domains), window, more]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(filter(None, parts)))


def _conf(chosen: argparse.Namespace, runs: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The params of the DAG's run.

    Raises:
        ConfigError: an argument is not allowed.
    """
    overrides = json_object(chosen.overrides or "{}", "OVERRIDES")
    catalogue = _catalogue(chosen, runs, environment)
    domains = "all" if chosen.domains == "all" else sorted(set(chosen.domains.split(",")))
    more = "-".join(filter(None, [chosen.pipeline, f"overrides{digest_of(overrides)[:8]}" if overrides else ""]))
    return {
        "catalogue": catalogue,
        "domains": domains,
        "seed": chosen.seed,
        "preset": chosen.preset,
        "run_root": str(runs),
        "run": chosen.run or run_name(catalogue, chosen.preset, chosen.seed, domains, chosen.window, more),
        "overrides": overrides,
        "window": named_window(chosen.window),
    }


def _catalogue(chosen: argparse.Namespace, runs: Path, environment: dict[str, str]) -> str:
    given = chosen.catalog
    if not given:
        return str(_demo_world(runs, chosen.preset, environment))
    if "://" in given:
        return given.rstrip("/")
    if not Path(given).exists():
        raise ConfigError(
            f"CATALOG={given}: no such file or folder; allowed: a folder with `items` and, if there are any, "
            "`interactions`, or an address such as s3://bucket/prefix; `modit check PATH` says what is understood of it"
        )
    return str(Path(given).resolve())


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
    """Prints the verdict, and where to look next; says nothing of a run that ended before its verdict."""
    try:
        print("", verdict_text(read_verdict(run)), "", sep="\n")
    except ModitError:
        return 1
    print(*(f"report:     {page}" for page in report_pages(run)), sep="\n")
    print(*(f"data docs:  {page}" for page in data_docs(run)), sep="\n")
    print(f"verdict:    modit verdict --run {run}")
    print(f"review:     modit review --run {run}, then modit approve")
    return 0


def show_ends(run: str, pipeline: Pipeline) -> int:
    """Prints where the end artifacts of a pipeline without a verdict are; 1 if one is missing, else 0."""
    missing = [name for name in pipeline.ends if not Path(run, name).is_dir()]
    print(*(f"{name}: {Path(run, name)}" for name in pipeline.ends if name not in missing), sep="\n")
    return int(bool(missing))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dags.launch", description="Run a pipeline under Airflow.")
    parser.add_argument("--catalog", default="", help="folder or address of the input; empty: the demo world")
    parser.add_argument("--pipeline", default="", help="name of the pipeline; empty: the first that is declared")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="size of model and training")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes")
    parser.add_argument("--domains", default="all", help="all, or names with commas between")
    parser.add_argument("--runs", default="runs", help="folder of runs and their cache")
    parser.add_argument("--run", default="", help="name of the run; empty: made of the arguments")
    parser.add_argument("--window", default="", help="days START:END, the end not included; empty: everything")
    parser.add_argument("--overrides", default="{}", help='JSON over the preset, such as {"pretrain.steps": 100}')
    return parser.parse_args(arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the run's tasks, as ctrl-C does
    sys.exit(main())
