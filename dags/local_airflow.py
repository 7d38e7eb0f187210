"""An Airflow inside the repository's folder, for one run of a DAG: SQLite, no scheduler, tasks side by side.

`airflow dags test --use-executor` gives the tasks to Airflow's LocalExecutor. They talk to an execution API, which runs
beside them on a port of this machine until the run has ended.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from dags.process_tree import end_tree
from dags.progress import Progress
from modit.core.errors import TransientError
from modit.core.machine import threads_of_a_task, usable_cores

REPOSITORY = Path(__file__).resolve().parent.parent
# Seconds between two looks at what tasks say.
LOOK = 0.3
# What Airflow logs when the run is over, and the seconds that its executor then has to shut down.
MARKED, SHUT_DOWN = re.compile(r"Marking run <DagRun .*> (successful|failed)"), 2.0
# The API starts beside the run, so the first tasks ask until it answers: a try each second or two, for minutes.
ASKING = {
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "200",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN": "0.5",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "2",
}


def airflow_environment(runs: Path) -> dict[str, str]:
    """Returns the settings of an Airflow that lives inside the repository folder and needs no server.

    One task more runs at once than the cores allow with `threads_of_a_task` each, as a task that starts or waits leaves
    its core idle; AIRFLOW__CORE__PARALLELISM, where it is set, says another number.

    Args:
        runs: where runs live.
    """
    home = REPOSITORY / ".airflow"
    return {
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__CORE__PARALLELISM": str(1 + max(1, usable_cores() // threads_of_a_task())),
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
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "MODIT_RUNS": str(runs),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": str(threads_of_a_task()),
    }


def _migrate(environment: dict[str, str]) -> None:
    """Makes Airflow's database, or brings it up to date; nothing where this version of Airflow has done so.

    Args:
        environment: of `airflow_environment`.
    """
    home, version = Path(environment["AIRFLOW_HOME"]), metadata.version("apache-airflow-core")
    done = home / "migrated.txt"
    if done.is_file() and done.read_text() == version and (home / "airflow.db").is_file():
        return
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done.write_text(version)


def run_dag(job: str, conf: dict[str, Any], environment: dict[str, str], progress: Progress) -> tuple[int, Path]:
    """Runs a DAG once; an interrupt ends its tasks.

    Args:
        job: the DAG's id.
        conf: the run's params.
        environment: of `airflow_environment`.
        progress: is told what tasks say.

    Returns:
        Airflow's status, 0 when no task failed; and the file with the whole log.

    Raises:
        TransientError: the execution API ended before the run.
    """
    logs = Path(environment["AIRFLOW_HOME"]) / "logs"
    log = logs / f"{conf.get('run', job)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    before = _runs(logs, job)
    _migrate(environment)
    with log.open("w", encoding="utf-8") as whole, _execution_api(environment, whole) as (api, settings):
        command = ["dags", "test", job, "--use-executor", "--conf", json.dumps(conf)]
        with _airflow(command, settings, whole) as process:
            said = TaskLogs(logs, job, before)
            end = _End(log)
            while process.poll() is None and not end.overdue():
                if api.poll() is not None:
                    raise TransientError(f"Airflow's execution API ended with status {api.returncode}; its log: {log}")
                time.sleep(LOOK)
                said.tell(progress)
            said.tell(progress)
            progress.end()
            return int(end.state != "successful") if process.returncode is None else process.returncode, log


class _End:
    """How Airflow marked a run, as its log says.

    Airflow 3.3's LocalExecutor has been seen to wait for ever for its idle workers, after the run was marked.
    """

    def __init__(self, log: Path) -> None:
        self._log, self._read, self._tail = log, 0, ""
        self._since = 0.0
        self.state: str | None = None

    def overdue(self) -> bool:
        """Whether the executor has had its time to shut down since the run was marked."""
        if self.state is None:
            with self._log.open("rb") as lines:
                lines.seek(self._read)
                new = lines.read()
            self._read += len(new)
            text = self._tail + new.decode(errors="replace")
            self._tail = text[text.rfind("\n") + 1 :]
            if found := MARKED.search(text):
                self.state, self._since = found[1], time.monotonic()
        return self.state is not None and time.monotonic() > self._since + SHUT_DOWN


class TaskLogs:
    """What the tasks of a run write into their logs, a file for each attempt, a JSON object for each line."""

    def __init__(self, logs: Path, job: str, before: set[Path]) -> None:
        """Knows of no line yet.

        Args:
            logs: Airflow's folder of logs.
            job: the DAG's id.
            before: folders of the DAG's earlier runs.
        """
        self._logs, self._job, self._before = logs, job, before
        self._read: dict[Path, int] = {}  # bytes of whole lines that were told

    def tell(self, progress: Progress) -> None:
        """Tells what was written since the last time."""
        for run in sorted(_runs(self._logs, self._job) - self._before):
            for file in sorted(run.rglob("*.log")):
                for message in self._new(file):
                    progress.read(str(file), message)

    def _new(self, file: Path) -> Iterator[str]:
        with file.open("rb") as lines:
            lines.seek(self._read.get(file, 0))
            text = lines.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read[file] = self._read.get(file, 0) + len(whole)
        for line in whole.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # not of Airflow
            if str(said.get("logger", "")).endswith("SubprocessHook"):
                yield str(said["event"])


def _runs(logs: Path, job: str) -> set[Path]:
    return set((logs / f"dag_id={job}").glob("run_id=*"))


@contextmanager
def _execution_api(
    environment: dict[str, str], whole: IO[str]
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Serves the execution API: its process, and the environment of a run that talks to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (
        ASKING
        | environment
        | {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        }
    )
    command = ["api-server", "--apps", "execution", "--host", "127.0.0.1", "--port", str(port)]
    with _airflow(command, settings, whole) as server:
        yield server, settings


@contextmanager
def _airflow(command: Sequence[str], environment: dict[str, str], whole: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Starts an Airflow command, out of reach of the terminal's interrupt; in the end it and all its children go."""
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow", *command],
        env=environment,
        stdout=whole,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end_tree(process.pid)
        process.wait()
