"""A service over an index engine answers as over the index of the bundle, and says so when the engine is away."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import modit
from modit.cli import main
from modit.index.engines.collection import Batch, EngineAddress, EngineError, open_collection
from modit.serve.settings import Settings
from tests.unit.serve.conftest import running, wait_until
from tests.unit.serve.engine_requests import REQUESTS, expect_equal_answers


def staged(folder, catalog, name="items", vectors=None):
    address = EngineAddress.parse(f"lance://{folder}?collection={name}")
    vectors = catalog.embeddings if vectors is None else vectors
    open_collection(address).upsert([Batch(catalog.item_ids, np.asarray(vectors))])
    return address


@pytest.mark.parametrize("request_", REQUESTS)
def test_every_request_gets_the_items_of_the_bundles_index(client, over_engine, request_):
    expect_equal_answers(over_engine, client, request_)


def test_a_batch_gets_the_items_of_the_bundles_index(client, over_engine):
    answers = [each.post("/v1/retrieve/batch", json={"requests": REQUESTS}).json() for each in (over_engine, client)]
    found, wanted = ([[item["item_id"] for item in one["items"]] for one in each["answers"]] for each in answers)
    assert found == wanted


def test_explore_compares_on_the_engine(over_engine):
    page = over_engine.get("/explore", params={"domain": "drama", "seed": ["item-1", "item-2"]})
    assert page.status_code == 200 and "item-1" in page.text


@pytest.fixture(scope="module")
def over_engine(bundle, tmp_path_factory):
    engine = staged(tmp_path_factory.mktemp("lance"), bundle.catalog)
    named = [bundle.named("drama", 3), bundle.named("crime", 1)]
    with running(lambda: named, reload_seconds=60, engine=engine) as client:
        yield client


def test_modit_load_answers_from_the_engine_as_from_the_bundles_index(bundle, tmp_path):
    engine = staged(tmp_path, bundle.catalog)
    folder = Path(bundle.run) / "bundle" / "drama"
    ours, theirs = (modit.load(folder, index=index) for index in (None, f"lance://{tmp_path}?collection=items"))
    ids = ["item-1", "item-2"]
    assert theirs.query(ids, k=7)["item_id"].tolist() == ours.query(ids, k=7)["item_id"].tolist()
    open_collection(engine).drop()
    with pytest.raises(EngineError):
        theirs.query(ids, k=7)


def test_an_engine_that_is_away_is_a_503_that_says_so_until_it_is_back(bundle, tmp_path):
    engine = staged(tmp_path / "here", bundle.catalog)
    with running(lambda: [bundle.named("drama")], engine=engine) as client:
        shutil.move(tmp_path / "here", tmp_path / "away")
        (tmp_path / "here").write_text("no folder")
        answer = client.post("/v1/retrieve", json=REQUESTS[0])
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
        (error,) = answer.json()["errors"]
        assert error["field"] == "index" and "does not answer at the moment" in error["message"]
        (tmp_path / "here").unlink()
        shutil.move(tmp_path / "away", tmp_path / "here")
        wait_until(lambda: client.post("/v1/retrieve", json=REQUESTS[0]).status_code == 200)


def test_an_engine_without_the_collection_or_with_other_vectors_answers_nothing_and_readyz_says_why(bundle, tmp_path):
    other = np.roll(bundle.catalog.embeddings, 1, axis=0)
    address = staged(tmp_path, bundle.catalog, "other", other)
    missing = EngineAddress.parse(f"lance://{tmp_path}?collection=missing")
    for engine, message in ((address, "whose cosine to the catalogue's is"), (missing, "there is no such collection")):
        with running(lambda: [bundle.named("drama")], ready=False, engine=engine) as client:
            wait_until(lambda: "drama" in client.get("/readyz").json()["problems"])
            assert message in client.get("/readyz").json()["problems"]["drama"]
            assert client.post("/v1/retrieve", json=REQUESTS[0]).status_code == 503


def test_a_release_that_was_staged_is_answered_from_its_own_generation_while_the_next_one_is_staged(
    client, make_bundle, tmp_path
):
    address = f"lance://{tmp_path}?collection=items"
    staged_bundle = make_bundle(("drama",), engine=address)  # of the same items as that of `client`
    with running(lambda: [staged_bundle.named("drama", 3)], engine=EngineAddress.parse(address)) as over_generation:
        expect_equal_answers(over_generation, client, REQUESTS[0])
        make_bundle(("drama",), seed=5, engine=address)
        expect_equal_answers(over_generation, client, REQUESTS[0])
    generation = open_collection(EngineAddress.parse(address).at(staged_bundle.index_digest[:16]))
    generation.upsert([Batch(np.array(["new"]), staged_bundle.catalog.embeddings[:1])])
    with running(lambda: [staged_bundle.named("drama")], ready=False, engine=EngineAddress.parse(address)) as other:
        wait_until(lambda: "drama" in other.get("/readyz").json()["problems"])
        assert "holds 301 items; allowed: the 300" in other.get("/readyz").json()["problems"]["drama"]


def test_a_password_in_the_address_is_not_part_of_the_settings_that_are_shown():
    engine = EngineAddress.parse("postgresql://ann:s3cret@db/shop")
    assert "s3cret" not in repr(Settings("sqlite:////none", engine=engine))


def test_an_address_that_is_not_allowed_ends_the_command_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("MODIT_INDEX", "http://ann:s3cret@db:19530")
    assert main(["serve", "--registry", "sqlite:////none"]) == 1
    said = capsys.readouterr().err
    assert "allowed: postgresql://..., lance://..." in said and "s3cret" not in said
