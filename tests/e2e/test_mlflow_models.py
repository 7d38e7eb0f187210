"""`mlflow models serve` answers from a registered version as `modit serve` does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from modit.local import SeedsRetriever
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.e2e.service import ROOT, START
from tests.unit.serve.bundles import Bundle

pytestmark = pytest.mark.e2e


@contextmanager
def model_server(model, registry, log):
    """Address of a scoring server of MLflow."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        "local",
        "-p",
        str(port),
    ]
    # MLflow starts `uvicorn` by its name, as in an environment that is activated.
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "MLFLOW_TRACKING_URI": registry,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.wait(30)


def test_a_server_of_mlflow_answers_what_the_service_answers(sampler_file, tmp_path):
    bundle = Bundle(str(tmp_path / "run"), tmp_path, sampler_file, ["drama"], rerank=True)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowRegistry(uri, f"file://{tmp_path}/artifacts").register(bundle.submission("drama"))
    requests = [
        {"seeds": {"item_ids": ["item-1", "item-2"]}, "k": 5},
        {"seeds": {"vectors": bundle.catalog.embeddings[:3].tolist()}, "k": 7},
    ]
    ours = SeedsRetriever(load_release(ReleaseSource.of(bundle.named("drama")))).answers(requests)
    with model_server("models:/modit-drama/1", uri, tmp_path / "log") as address:
        body = json.dumps({"dataframe_records": requests}).encode()
        call = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=30) as answer:
            found = json.loads(answer.read())["predictions"]
    assert [each["items"] for each in found] == [
        [item.model_dump(exclude_none=True) for item in answer.items] for answer in ours
    ]
    assert [each["reranked"] for each in found] == [True, True]
