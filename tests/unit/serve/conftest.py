from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi.testclient import TestClient

from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.serve.app import create_app
from modit.serve.metrics import REGISTRY
from modit.serve.settings import Limits, Settings
from tests.unit.serve.bundles import Bundle

LIMITS = Limits(k=50, exclude=20, guidance=10.0, rounds=4, body_bytes=20_000)


@pytest.fixture(scope="session")
def make_bundle(sampler_file, tmp_path_factory):
    """Builds a run: `make_bundle(domains=("drama",), seed=0, run=None, ...)`; a local folder of its own by default."""

    def build(domains=("drama",), seed=0, run=None, **how):
        folder = tmp_path_factory.mktemp("bundle")
        return Bundle(run or str(folder / "run"), folder, sampler_file, domains, seed, **how)

    return build


@pytest.fixture(scope="session")
def bundle(make_bundle, vote_file):
    """For tests that change nothing in it."""
    return make_bundle(("crime", "drama"), simple_file=vote_file)


@pytest.fixture(scope="session")
def release(bundle):
    return load_release(ReleaseSource.of(bundle.named("drama", 3)))


@contextmanager
def running(ask, ready=True, **settings):
    """A client of a service whose registry is `ask`; when `ready`, it is."""
    given = {"registry": "unused", "limits": LIMITS, "reload_seconds": 0.05, "threads": 2} | settings
    with TestClient(create_app(Settings(**given), ask)) as client:
        if ready:
            wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextmanager
def listening(ask, **settings):
    """The address of a service on a port of this machine; it is ready."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    app = create_app(Settings(**{"registry": "-", "limits": LIMITS} | settings), ask)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started and app.state.service.readiness()["ready"])
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def wait_until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.02)


@pytest.fixture
def gained():
    """Tells what a metric with a label has gained since the start of the test."""
    before = {}

    def value(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0.0

    for family in REGISTRY.collect():
        for sample in family.samples:
            before[sample.name, tuple(sample.labels.items())] = sample.value
    return lambda name, **labels: value(name, **labels) - before.get((name, tuple(labels.items())), 0.0)


@pytest.fixture(scope="session")
def client(bundle):
    """A service of two domains that share an index."""
    with running(lambda: [bundle.named("drama", 3), bundle.named("crime", 1)], reload_seconds=60) as client:
        yield client
