"""Seeds by id come from the online feature store; if it fails, the bundle answers and the answer says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

pytest.importorskip("feast", reason="needs the extra `features`")

from modit.features.tables import FeatureTable, Night
from modit.release.bundle.embedding_space import Space
from modit.serve.feature_seeds import CircuitBreaker
from tests.unit.features.conftest import RedisServer, Store
from tests.unit.serve.conftest import running, wait_until

NEW = "published tonight"


def vectors_of(count, dimension, seed=7):
    drawn = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def night_of(bundle, embeddings=None, day=0, run=None):
    """The catalogue of a bundle and one item more."""
    given = bundle.catalog.embeddings if embeddings is None else embeddings
    ids = np.array([*bundle.catalog.item_ids, NEW])
    matrix = np.concatenate([given, vectors_of(1, given.shape[1])])
    table = FeatureTable("item_embedding", ids, {"embedding": matrix})
    as_of = datetime.now(UTC).replace(microsecond=0) - timedelta(days=9 - day)
    return Night(as_of, run or bundle.run, ["drama"], [table], space=Space.of(ids, matrix).version)


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path, monkeypatch) -> Store:
    """An empty feature store, with each of the online stores."""
    monkeypatch.delenv("MODIT_REDIS", raising=False)
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        monkeypatch.setenv("MODIT_REDIS", server.address)
    return Store(tmp_path / f"store_{tmp_path.name}")


@pytest.fixture
def redis(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def serve(bundle, store):
    """Starts a service that reads the store; it is ready when the store is open."""

    def start(**settings):
        given = {"features": str(store.folder), "features_timeout_seconds": 5.0} | settings
        return running(lambda: [bundle.named("drama", 3)], **given)

    return start


def ask(client, *item_ids, **more):
    body = {"domain": "drama", "seeds": {"item_ids": list(item_ids)}, "return_query": True, "k": 20} | more
    return client.post("/v1/retrieve", json=body)


def source_of(client, *item_ids):
    return ask(client, *item_ids).json()["seed_source"]


def wait_until_open(client):
    wait_until(lambda: "opened" not in source_of(client, "item-1").get("problem", ""), seconds=60)


def figures(client):
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"}


def test_an_item_that_the_index_does_not_have_yet_is_a_seed_and_the_answer_says_where_from(bundle, store, serve):
    night = night_of(bundle)
    store.publish(night)
    with serve() as client:
        wait_until_open(client)
        before = figures(client)
        found = ask(client, NEW, "item-1").json()
        assert found["seed_source"] == {"features": 2, "bundle": 0}
        vectors = [
            night.tables[0].columns["embedding"][-1],
            bundle.catalog.embeddings[bundle.catalog.item_ids == "item-1"][0],
        ]
        by_vectors = {"vectors": np.array(vectors).tolist()}
        expected = ask(client, seeds=by_vectors, exclude_item_ids=["item-1"]).json()
        assert (found["query"], found["items"]) == (expected["query"], expected["items"])
        assert "item-1" not in {item["item_id"] for item in found["items"]}
        page = client.get("/explore", params={"domain": "drama", "seed": [NEW, "item-1"]}).text
        assert "2 of 2 seeds were read from the feature store." in page and f'data-item="{NEW}"' in page
        after = figures(client)
        assert after['modit_seeds_total{source="features"}'] - before['modit_seeds_total{source="features"}'] == 2
        answered = 'modit_feature_lookups_total{result="answered"}'
        assert after[answered] - before[answered] == 2
        assert after["modit_feature_lookup_seconds_count"] - before["modit_feature_lookup_seconds_count"] == 2


def test_a_batch_is_one_look_up(bundle, store, serve):
    store.publish(night_of(bundle))
    with serve() as client:
        wait_until_open(client)
        answered = 'modit_feature_lookups_total{result="answered"}'
        before = figures(client)[answered]
        requests = [
            {"domain": "drama", "seeds": {"item_ids": ids}, "k": 3} for ids in ([NEW], ["item-1", NEW], ["item-2"])
        ]
        answers = client.post("/v1/retrieve/batch", json={"requests": requests}).json()["answers"]
        assert [each["seed_source"] for each in answers] == [{"features": n, "bundle": 0} for n in (1, 2, 1)]
        assert figures(client)[answered] - before == 1
        alone = client.post("/v1/retrieve", json=requests[1]).json()
        assert [item["item_id"] for item in alone["items"]] == [item["item_id"] for item in answers[1]["items"]]


def test_what_the_store_does_not_have_is_read_from_the_bundle_and_an_id_that_neither_has_is_named(bundle, store, serve):
    night = night_of(bundle)
    table = night.tables[0].take(np.arange(1, len(night.tables[0])))  # without the first item of the index
    store.publish(Night(night.as_of, night.run_uri, night.domains, [table]))
    first = bundle.catalog.item_ids[0]
    with serve() as client:
        wait_until_open(client)
        assert source_of(client, first, NEW) == {"features": 1, "bundle": 1}
        refused = ask(client, first, "nobody's", NEW)
        assert refused.status_code == 422
        error = refused.json()["errors"][0]
        assert (error["field"], error["value"]) == ("seeds.item_ids", '["nobody\'s"]')
        assert error["allowed"] == "ids of the feature store or of the index of modit-drama version 3"


def test_removed_items_and_those_of_tonight_follow_the_store_without_a_restart(bundle, store, serve):
    store.publish(night_of(bundle))
    with serve() as client:
        wait_until_open(client)
        assert ask(client, NEW).is_success
        night = night_of(bundle, day=1)
        later = FeatureTable("item_embedding", np.array([*bundle.catalog.item_ids, "newer"]), night.tables[0].columns)
        store.publish(Night(night.as_of, f"{bundle.run}-2", ["drama"], [later]))
        assert source_of(client, "newer") == {"features": 1, "bundle": 0}
        assert ask(client, NEW).status_code == 422


def test_the_folder_of_the_store_may_be_mounted_read_only(bundle, store, serve):
    """Root may write anywhere, so the test looks at what is there before and after."""
    store.publish(night_of(bundle))

    def files():
        return {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}

    before = files()
    with serve() as client:
        wait_until_open(client)
        assert source_of(client, "item-1", NEW) == {"features": 2, "bundle": 0}
    assert files() == before


@pytest.mark.parametrize("kind", ["another encoder", "another dimension"])
def test_embeddings_of_another_space_are_refused_and_the_answer_says_so(bundle, store, serve, kind):
    catalog = bundle.catalog
    shape = (len(catalog), catalog.dimension + (kind == "another dimension"))
    store.publish(night_of(bundle, vectors_of(*shape, seed=11)))
    with serve() as client:
        wait_until_open(client)
        found = ask(client, "item-1", "item-2").json()
        assert (found["seed_source"]["features"], found["seed_source"]["bundle"]) == (0, 2)
        why = {
            "another encoder": "median cosine",
            "another dimension": f"dimension is {shape[1]}, not {catalog.dimension}",
        }
        assert why[kind] in found["seed_source"]["problem"]
        assert client.get("/readyz").json()["problems"]["features"] == found["seed_source"]["problem"]
        assert figures(client)['modit_feature_lookups_total{result="refused"}'] >= 1
        refused = ask(client, NEW).json()["errors"][0]
        assert why[kind] in refused["message"] and "Only the index was searched" in refused["message"]


def test_a_new_encoder_is_noticed_while_the_service_runs(bundle, store, serve, monkeypatch):
    monkeypatch.setattr("modit.serve.feature_seeds._CHECK_SECONDS", 0.0)
    store.publish(night_of(bundle))
    with serve() as client:
        wait_until_open(client)
        assert source_of(client, "item-1")["features"] == 1
        store.publish(
            night_of(bundle, vectors_of(len(bundle.catalog), bundle.catalog.dimension, 11), 1, f"{bundle.run}-2")
        )
        assert "median cosine" in source_of(client, "item-1")["problem"]


def test_a_store_without_the_feature_service_of_the_version_is_not_used(bundle, store, serve):
    store.publish(night_of(bundle, run="/runs/of somebody else"))
    with serve() as client:
        wait_until_open(client)
        problem = source_of(client, "item-1")["problem"]
        assert problem.startswith("the feature store has no feature service drama__run_")
        assert problem.endswith("which modit-drama version 3 names")


def test_a_folder_that_is_no_store_is_said_and_opened_once_it_is_one(bundle, store, serve, monkeypatch):
    monkeypatch.setattr("modit.serve.feature_seeds._PAUSE_SECONDS", 0.1)
    with serve() as client:
        wait_until(lambda: "cannot be opened" in source_of(client, "item-1")["problem"], seconds=60)
        assert "feature_store.yaml is missing" in source_of(client, "item-1")["problem"]
        assert not store.folder.exists()
        store.publish(night_of(bundle))
        wait_until(
            lambda: source_of(client, NEW) == {"features": 1, "bundle": 0} if ask(client, NEW).is_success else False, 60
        )


def test_a_redis_that_hangs_or_is_gone_slows_three_requests_and_then_none(bundle, redis, tmp_path, monkeypatch):
    monkeypatch.setenv("MODIT_REDIS", redis.address)
    monkeypatch.setattr("modit.serve.feature_seeds._PAUSE_SECONDS", 1.0)
    store = Store(tmp_path / "store")
    store.publish(night_of(bundle))
    settings = {"features": str(store.folder), "features_timeout_seconds": 0.3}
    with running(lambda: [bundle.named("drama", 3)], **settings) as client:
        wait_until_open(client)
        assert source_of(client, "item-1")["features"] == 1
        os.kill(redis.process.pid, signal.SIGSTOP)
        times, problems = [], []
        for _ in range(12):
            begun = time.monotonic()
            problems.append(source_of(client, "item-1")["problem"])
            times.append(time.monotonic() - begun)
        assert all("did not answer within 0.3 s" in each for each in problems)
        assert sum(each > 0.25 for each in times) <= 4 and sorted(times)[7] < 0.2
        os.kill(redis.process.pid, signal.SIGCONT)
        wait_until(lambda: source_of(client, "item-1")["features"] == 1)
        redis.process.kill()
        redis.process.wait(30)
        assert source_of(client, "item-1")["bundle"] == 1
        assert client.get("/readyz").status_code == 200


def test_vectors_and_a_service_without_a_store_ask_nobody(bundle, client):
    by_vectors = {"vectors": bundle.catalog.embeddings[:1].tolist()}
    assert "seed_source" not in ask(client, seeds=by_vectors).json()
    assert source_of(client, "item-1") == {"features": 0, "bundle": 1}


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_call_a_pause_try_again():
    now = 0.0
    breaker = CircuitBreaker(failures=3, pause=10.0, clock=lambda: now)
    for succeeded in (False, False, True, False, False):
        assert breaker.allows()
        breaker.record(succeeded)
    assert breaker.allows()
    breaker.record(False)
    assert not breaker.allows()
    now = 10.0
    assert breaker.allows() and not breaker.allows()
    breaker.record(False)
    now = 19.0
    assert not breaker.allows()
    now = 20.0
    assert breaker.allows()
    breaker.record(True)
    assert breaker.allows() and breaker.allows()


def test_feast_is_imported_only_where_a_store_is_configured():
    code = (
        "import sys; from modit.serve.app import create_app; from modit.serve.settings import Settings; "
        "create_app(Settings('sqlite:////none'), lambda: []); "
        "print(sorted(name for name in ('feast', 'torch', 'dask') if name in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.strip() == "[]"
