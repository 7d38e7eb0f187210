"""The whole system of infra/compose on this machine's engine, with servers from Debian's packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.compose_env import settings
from tests.airflow_rest import Airflow
from tests.containers.conftest import BASE, ROOT, docker

SERVERS = ROOT / "tests" / "containers" / "servers"
FILES = ("-f", str(ROOT / "infra/compose/compose.yaml"), "-f", str(SERVERS / "compose.yaml"))
PROJECT = "modittest"
SERVICES = ("scheduler", "dag-processor", "triggerer", "serve", "exporter", "prometheus")
PORTS = {"AIRFLOW_PORT": "18080", "MLFLOW_PORT": "15000", "SERVE_PORT": "18000", "PROMETHEUS_PORT": "19090"}
PAGES = {
    "MODIT_MLFLOW_URL": f"http://localhost:{PORTS['MLFLOW_PORT']}",
    "MODIT_SERVICE_URL": f"http://localhost:{PORTS['SERVE_PORT']}",
}


def build_servers() -> dict[str, str]:
    """Images of PostgreSQL, Redis and an S3 server; the variables that name them."""
    images = {name: f"modit/test-{name}:1" for name in ("postgres", "redis", "prometheus", "objects")}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SERVERS, folder, dirs_exist_ok=True)
        wheels = Path(folder, "wheels")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "-c", str(ROOT / "constraints.txt"), "-w", str(wheels)]
        subprocess.run([*pip, "moto[s3,server]"], check=True)
        for name, tag in images.items():
            docker("build", "--quiet", "--target", name, "--tag", tag, "--build-arg", f"BASE_IMAGE={BASE}", folder)
    return {f"{name.upper()}_IMAGE": tag for name, tag in images.items()}


class System:
    """A system that runs.

    Attributes:
        settings: its variables, secrets among them.
    """

    def __init__(self, images: str, data: Path, folder: Path) -> None:
        own = {
            f"MODIT_{name.upper()}_IMAGE": images.format(image=name) for name in ("airflow", "data", "release", "serve")
        }
        names = {"MODIT_NETWORK": PROJECT, "MODIT_STATE": f"{PROJECT}-state", "MODIT_IMAGES": images}
        self.settings = settings(data) | build_servers() | own | names | PORTS | PAGES
        self._file = folder / "env"
        self._file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs an order of docker-compose, the old program or Docker's plugin."""
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        command = [*program, "--env-file", str(self._file), "-p", PROJECT, *FILES, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check)

    def ask(self, port: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """JSON of a server on this host."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{PORTS[port]}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def airflow(self) -> Airflow:
        """Airflow's API, signed in, once it has read the DAGs."""
        airflow = Airflow(f"http://127.0.0.1:{PORTS['AIRFLOW_PORT']}")

        def signed_in() -> None:
            airflow.sign_in(self.settings["AIRFLOW_PASSWORD"])
            if airflow.call("GET", "/api/v2/dags/nightly_retrain")[0] != 200:
                raise ValueError("Airflow does not know nightly_retrain yet")

        wait_for(signed_in, 180)
        return airflow

    def output(self, service: str, *command: str) -> str:
        """What a command says in the container of a service."""
        return self.compose("exec", "-T", service, *command).stdout


@contextmanager
def running(images: str, data: Path, folder: Path) -> Iterator[System]:
    """Starts everything, and takes everything away with its volumes."""
    system = System(images, data, folder)
    try:
        # Grafana and the StatsD exporter are no packages of Debian.
        up = system.compose("up", "--detach", *SERVICES, check=False)
        assert up.returncode == 0, f"{up.stderr}\n{system.compose('logs', '--tail', '40', check=False).stdout}"
        yield system
    finally:
        system.compose("down", "--volumes", "--timeout", "5", check=False)


def wait_for(attempt: Any, seconds: float) -> Any:
    """What `attempt` returns once it does not fail any more."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (OSError, ValueError):
            if time.monotonic() > give_up:
                raise
            time.sleep(2)
