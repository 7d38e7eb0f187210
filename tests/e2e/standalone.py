"""`airflow standalone` as a process of its own, asked over REST."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dags.launch import airflow_environment

ROOT = Path(__file__).resolve().parents[2]
# Seconds; a loaded machine of two cores needs them.
START, JOB, HEARD = 300, 2700, 10
ENDED = ("success", "failed", "skipped", "upstream_failed")
Tasks = dict[tuple[str, int], str]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """`airflow standalone` in a session and folder of its own."""

    def __init__(self, home: Path, runs: Path, more: dict[str, str]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.home = home
        environment = {
            **airflow_environment(runs),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            # It starts its parts as `airflow ...`.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            **more,
        }
        self.log = (home / "standalone.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=environment,
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.token: str | None = None

    def call(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "airflow standalone ended; see standalone.log"
            try:
                if self.token is None and passwords.exists():
                    login = {"username": "admin", "password": json.loads(passwords.read_text())["admin"]}
                    self.token = self.call("POST", "/auth/token", login)[1].get("access_token")
                if self.token and self.call("GET", "/api/v2/dags/nightly_retrain")[0] == 200:
                    return
            except (OSError, ValueError):
                pass  # not listening yet
            time.sleep(2)
        raise TimeoutError(f"no answer within {START} s; see {self.log.name}")

    def stop(self) -> None:
        # SIGTERM would orphan the children.
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()

    def start(self, dag: str, **conf: Any) -> Run:
        """Starts a run, which must be taken."""
        path = f"/api/v2/dags/{dag}"
        assert self.call("PATCH", path, {"is_paused": False})[0] == 200
        status, answer = self.call("POST", f"{path}/dagRuns", {"logical_date": None, "conf": conf})
        assert status == 200, answer
        return Run(self, dag, answer["dag_run_id"])


class Run:
    """A run of a DAG."""

    def __init__(self, server: Server, dag: str, name: str) -> None:
        self.server, self.dag, self.name = server, dag, name
        self.path = f"/api/v2/dags/{dag}/dagRuns/{name}"

    @property
    def state(self) -> str:
        return self.server.call("GET", self.path)[1]["state"]

    @property
    def tasks(self) -> Tasks:
        """State of each task by name and index."""
        found = self.server.call("GET", f"{self.path}/taskInstances?limit=100")[1]["task_instances"]
        return {(task["task_id"], task["map_index"]): task["state"] for task in found}

    def of(self, name: str) -> list[str]:
        """States of a mapped task, by index."""
        return [state for (task, index), state in sorted(self.tasks.items()) if task == name and index >= 0]

    def wait_for(self, condition: Callable[[], bool], seconds: float = JOB) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.state, self.tasks)
            time.sleep(5)

    def wait_for_reviews(self) -> None:
        """Until every review waits for an answer, or the run is over without any."""
        self.wait_for(
            lambda: self.over or (self.of("release.review") and set(self.of("release.review")) == {"awaiting_input"})
        )
        assert set(self.of("release.review")) == {"awaiting_input"}, self.tasks
        # Airflow 3.3.2 fails a task that is answered before its scheduler has heard that the worker left it.
        time.sleep(HEARD)

    @property
    def over(self) -> bool:
        return self.state in ("success", "failed")

    def review(self, index: int) -> dict:
        """What a reviewer sees."""
        return self.server.call("GET", f"{self.path}/taskInstances/release.review/{index}/hitlDetails")[1]

    def answer(self, index: int, option: str) -> int:
        body = {"chosen_options": [option], "params_input": {}}
        return self.server.call("PATCH", f"{self.path}/taskInstances/release.review/{index}/hitlDetails", body)[0]

    def mark_review(self, index: int, state: str) -> int:
        """Sets the state of a review by hand, as Airflow's page can."""
        path = f"{self.path}/taskInstances/release.review/{index}"
        return self.server.call("PATCH", path, {"new_state": state})[0]

    def clear(self, *tasks: str | list) -> None:
        """Runs tasks again; a mapped one is [name, index]."""
        body = {"dry_run": False, "dag_run_id": self.name, "task_ids": list(tasks), "only_failed": False}
        status, answer = self.server.call("POST", f"/api/v2/dags/{self.dag}/clearTaskInstances", body)
        assert status == 200, answer
