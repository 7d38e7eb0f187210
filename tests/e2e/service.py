"""`modit serve` as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = 120  # seconds; a loaded machine of two cores needs them


class Service:
    """The process and its address."""

    def __init__(self, arguments: tuple[str, ...], log: Path, **environment: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", log
        given = {"PYTHONPATH": f"{ROOT / 'src'}", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "modit.cli", "serve", "--port", str(port), *arguments]
        with log.open("w") as file:
            self.process = subprocess.Popen(command, env=os.environ | given | environment, stderr=file)

    def call(self, path: str, body: dict | None = None, **headers: str) -> tuple[int, dict]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def wait_for(self, path: str, status: int = 200) -> dict:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                found, answer = self.call(path)
                if found == status:
                    return answer
            except OSError:
                pass  # not listening yet
            time.sleep(0.2)
        raise TimeoutError(f"{path} did not answer {status} within {START} s: {self.log.read_text()}")


@contextmanager
def serving(log: Path, *arguments: str, **environment: str) -> Iterator[Service]:
    """A service that is stopped at the end."""
    service = Service(arguments, log, **environment)
    try:
        yield service
    finally:
        service.process.terminate()
        service.process.wait(30)
