"""`airflow standalone` as a process of its own, asked over REST."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from dags.local_airflow import airflow_environment
from tests.airflow_rest import Airflow

ROOT = Path(__file__).resolve().parents[2]
# Seconds; a loaded machine of two cores needs them.
START = 300


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server(Airflow):
    """`airflow standalone` in a session and folder of its own."""

    def __init__(self, home: Path, runs: Path, more: dict[str, str]) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
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

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "airflow standalone ended; see standalone.log"
            try:
                if not self.token:
                    self.sign_in(self.passwords()["admin"])
                if self.token and self.call("GET", "/api/v2/dags/nightly_retrain")[0] == 200:
                    return
            except (OSError, ValueError):
                pass  # no passwords yet, or not listening
            time.sleep(2)
        raise TimeoutError(f"no answer within {START} s; see {self.log.name}")

    def passwords(self) -> dict[str, str]:
        """Of the users, as Airflow made them up."""
        return json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())

    def stop(self) -> None:
        # SIGTERM would orphan the children.
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()
