"""`modit serve` as people and machines start it: a process, a registry, requests over the network."""

from __future__ import annotations

import json
import threading
import time

import pytest

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.release_log import APPROVE, OVERRIDE
from modit.release.promotion.promotion import Order, carry_out
from tests.e2e.service import serving
from tests.unit.serve.bundles import Bundle

pytestmark = pytest.mark.e2e

ASKED = {"domain": "drama", "seeds": {"item_ids": ["item-1", "item-2"]}, "k": 5}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, sampler_file):
    """Two runs with samplers of one domain over different indexes."""
    folder = tmp_path_factory.mktemp("serve")
    made = (sampler_file, ["drama"])
    return [Bundle(str(folder / f"run-{n}"), folder / f"{n}", *made, n, champion=n or None) for n in (0, 1)]


def promote(registry, bundle, version, action):
    verdict = bundle.manifest("drama").verdict_digest
    carry_out(registry, Order(action, "drama", "ann", version, verdict, "a test"))


def test_a_process_waits_for_a_promotion_follows_the_next_and_ends_what_it_began(bundles, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with serving(tmp_path / "log", "--registry", uri, "--domains", "drama", "--reload-seconds", "0.2") as service:
        service.wait_for("/healthz")
        service.wait_for("/readyz", 503)
        registry = MlflowRegistry(uri, f"file://{tmp_path}/artifacts")
        versions = [registry.register(bundle.submission("drama")).version for bundle in bundles]
        promote(registry, bundles[0], versions[0], APPROVE)
        service.wait_for("/readyz")
        answers, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                answers.append(service.call("/v1/retrieve", ASKED))

        asker = threading.Thread(target=ask)
        asker.start()
        promote(registry, bundles[1], versions[1], OVERRIDE)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (answers and answers[-1][1].get("version") == versions[1]):
            time.sleep(0.1)
        stop.set()
        asker.join()
    assert {status for status, _ in answers} == {200}
    served = {(answer["version"], answer["index_digest"]) for _, answer in answers}
    assert served == {(versions[n], bundles[n].index_digest) for n in (0, 1)}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert "Application shutdown complete." in [line["message"] for line in lines]
    asked = [line for line in lines if line.get("route") == "/v1/retrieve"]
    assert len(asked) == len(answers) and asked[0].items() >= {"status": 200, "domain": "drama", "k": 5}.items()


def test_a_process_with_keys_asks_for_one(bundles, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry = MlflowRegistry(uri, f"file://{tmp_path}/artifacts")
    version = registry.register(bundles[0].submission("drama")).version
    arguments = ("--registry", uri, "--alias", "challenger", "--host", "0.0.0.0")
    with serving(tmp_path / "log", *arguments, MODIT_API_KEYS="one,two") as service:
        service.wait_for("/readyz")
        assert service.call("/v1/retrieve", ASKED)[0] == 401
        status, answer = service.call("/v1/retrieve", ASKED, Authorization="Bearer two")
        assert (status, answer["version"]) == (200, version)
    assert "two" not in (tmp_path / "log").read_text()
