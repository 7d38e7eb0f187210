"""A service reads an MLflow server by REST as MLflow's client does."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from modit.release.model_registry.followed_registry import FollowedRegistry, followed_registry
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.unit.release.registry_content import content_of, register_some

pytestmark = pytest.mark.e2e
START = 120


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *store]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).read()
                break
            except OSError:  # not listening yet
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def test_a_server_is_read_as_mlflows_client_reads_it(address, monkeypatch):
    registry, followed = MlflowRegistry(address), followed_registry(address)
    assert isinstance(followed, FollowedRegistry) and followed.models() == []
    register_some(registry)
    assert content_of(followed) == content_of(registry)
    monkeypatch.setattr("modit.release.model_registry.followed_registry._PAGE", 1)
    assert content_of(followed) == content_of(registry)
