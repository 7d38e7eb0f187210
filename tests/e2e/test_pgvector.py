"""PostgreSQL with pgvector answers as every index must."""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np
import psycopg
import pytest

from modit.index.engines.collection import EngineAddress, EngineDownError, EngineError, open_collection
from modit.index.engines.staging import StagedCollection, load_searched, stage
from modit.index.params import IndexParams
from tests.e2e.postgres import postgres
from tests.engine_suite import *  # noqa: F403
from tests.engine_suite import (
    DIMENSION,
    EMBEDDINGS,
    IDS,
    QUERIES,
    batches,
    expect_equal,
    item_ids,
    over,
    stored,
    unit_vectors,
)
from tests.unit.serve.bundles import Bundle
from tests.unit.serve.conftest import running
from tests.unit.serve.engine_requests import REQUESTS, expect_equal_answers

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its address, without a collection."""
    with postgres(tmp_path_factory.mktemp("pgvector") / "server", pgvector=True) as address:
        yield address.replace("+psycopg2", "")


@pytest.fixture(scope="module")
def address(server):
    return lambda name: f"{server}?collection={name}"


@pytest.mark.parametrize(
    ("column", "operators"),
    [
        ("vector", None),
        ("vector", "vector_cosine_ops"),
        ("vector", "vector_l2_ops"),
        ("vector", "vector_ip_ops"),
        ("halfvec", "halfvec_cosine_ops"),
    ],
)
def test_a_table_of_the_site_is_searched_by_the_index_that_it_has(server, flat, column, operators):
    unit_length = operators in ("vector_l2_ops", "vector_ip_ops")  # which compare as cosine does at unit length only
    lengths = np.random.default_rng(0).uniform(1 if unit_length else 0.5, 1 if unit_length else 4, len(EMBEDDINGS))
    numbers = np.arange(len(EMBEDDINGS)) * 7
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
        connection.execute("CREATE SCHEMA shop")
        table = f"CREATE TABLE shop.goods (sku bigint PRIMARY KEY, price int, vec {column}({DIMENSION}))"
        connection.execute(table)
        with connection.cursor().copy("COPY shop.goods (sku, price, vec) FROM STDIN") as copy:
            for number, vector in zip(numbers, EMBEDDINGS * lengths[:, None], strict=True):
                copy.write_row((int(number), 1, str(vector.tolist())))
        if operators:
            connection.execute(f"CREATE INDEX ON shop.goods USING hnsw (vec {operators})")
    collection = open_collection(EngineAddress.parse(f"{server}?collection=shop.goods&id=sku&vector=vec&effort=1000"))
    index = over(collection, numbers.astype(str))
    few = np.arange(len(numbers)) % 100 == 0
    for allowed in (None, few):
        found, wanted = index.search(QUERIES, 10, allowed), flat.search(QUERIES, 10, allowed)
        if operators:  # nearly all of 1,500 items are visited
            assert np.allclose(found.scores, wanted.scores, atol=2e-3)
            assert (found.rows == wanted.rows).mean() > 0.97
        else:
            expect_equal(found, wanted)


def test_of_many_items_the_approximate_index_is_what_answers(server):
    ids, vectors = item_ids(6_000), unit_vectors(6_000, 4)  # of fewer, PostgreSQL reads all of them
    collection = stored(f"{server}?collection=planned", ids, vectors)
    collection.accelerate()
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE relname = 'planned' AND indexrelname LIKE '%embedding%'"
    with psycopg.connect(server, autocommit=True) as connection:
        deadline = time.monotonic() + 30
        while connection.execute(scans).fetchone() < (1,):  # a server counts now and then
            collection.search(QUERIES[:1], 10)
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_server_that_comes_back_is_asked_again_and_one_that_is_down_is_said_to_be(tmp_path, flat):
    with postgres(tmp_path / "server", pgvector=True) as place:
        address = place.replace("+psycopg2", "") + "?collection=items"
        collection = stored(address)
        expect_equal(over(collection).search(QUERIES, 5), flat.search(QUERIES, 5))
        with psycopg.connect(place.replace("+psycopg2", ""), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        expect_equal(over(collection).search(QUERIES, 5), flat.search(QUERIES, 5))
    with pytest.raises(EngineDownError, match=r"postgres\?collection=items does not answer"):
        over(collection).search(QUERIES, 5)


def test_a_reader_that_may_not_write_may_search(server, address, flat):
    stored(address("readable"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON readable TO reader")
    reader = open_collection(EngineAddress.parse(f"{server.replace('modit@', 'reader@')}?collection=readable"))
    expect_equal(over(reader).search(QUERIES, 5), flat.search(QUERIES, 5))
    with pytest.raises(EngineError, match="permission denied|must be owner"):
        reader.upsert(batches(np.array(["x"]), EMBEDDINGS[:1]))


def test_a_service_over_a_table_answers_as_over_the_bundle_until_the_server_is_down(tmp_path, sampler_file, caplog):
    bundle = Bundle(str(tmp_path / "run"), tmp_path, sampler_file, ("crime", "drama"))
    named = [bundle.named("drama", 3), bundle.named("crime", 1)]
    with ExitStack() as stack:
        with postgres(tmp_path / "server", pgvector=True) as place:
            address = place.replace("+psycopg2", "").replace("modit@", "modit:s3cret@") + "?collection=goods"
            stored(address, bundle.catalog.item_ids, np.asarray(bundle.catalog.embeddings))
            plain = stack.enter_context(running(lambda: named, reload_seconds=60))
            engine = EngineAddress.parse(address)
            over_table = stack.enter_context(running(lambda: named, reload_seconds=60, engine=engine))
            for request in REQUESTS:
                expect_equal_answers(over_table, plain, request)
        answer = over_table.post("/v1/retrieve", json=REQUESTS[0])
        assert answer.status_code == 503 and "does not answer" in answer.text
        assert "goods does not answer" in caplog.text and "s3cret" not in caplog.text + answer.text
        assert plain.post("/v1/retrieve", json=REQUESTS[0]).status_code == 200


def test_a_catalogue_is_staged_beside_the_live_table_and_labels_come_from_there(server, tmp_path, flat):
    live = stored(f"{server}?collection=nightly", IDS[:5], EMBEDDINGS[:5])
    params = IndexParams(engine=f"{server}?collection=nightly", calibration_queries=20)
    flat.save(tmp_path)
    for _ in range(2):  # a step that is tried again
        stage(flat, EMBEDDINGS, params, 0).save(tmp_path)
    searched = load_searched(tmp_path)
    assert (searched.kind, live.count(), StagedCollection.load(tmp_path).recall) == ("pgvector", 5, 1.0)
    allowed = np.arange(len(IDS)) % 2 == 0
    expect_equal(searched.search(QUERIES, 10, allowed), flat.search(QUERIES, 10, allowed))
