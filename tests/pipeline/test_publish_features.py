"""The step `publish_features` on hand-made artifacts of the steps before it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from components.publish_features.run import REPOSITORY, run
from modit.core.params import Params
from modit.core.run_config import RunConfig
from modit.data.catalog import Catalog, Sequences
from modit.features.online import OnlineItems
from modit.features.rows import OfflineRows
from modit.features.store import open_store
from modit.metric.density import DensityPredictor
from modit.metric.patterns import Patterns

pytest.importorskip("feast", reason="needs the extra `features`")

DOMAINS = ("drama", "quality")
ITEMS = 30


class Context(SimpleNamespace):
    def input(self, name):
        return self.root / name

    def inputs_by_domain(self, name):
        return {domain: self.root / name / domain for domain in self.domains}

    def output(self, name):
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name


@pytest.fixture
def context(tmp_path, monkeypatch) -> Context:
    for variable in ("MODIT_FEATURES", "MODIT_REDIS"):
        monkeypatch.delenv(variable, raising=False)
    root, generator = tmp_path / "runs" / "night", np.random.default_rng(0)
    for name in ("catalog", "patterns", "scratch", *(f"predictor/{domain}" for domain in DOMAINS)):
        (root / name).mkdir(parents=True)
    vectors = generator.standard_normal((ITEMS, 8)).astype(np.float32)
    ids = np.array([f"i{number}" for number in range(ITEMS)])
    attributes = {domain: np.ones(ITEMS, bool) for domain in DOMAINS}
    Catalog(ids, vectors, attributes, None, Sequences(np.array([0, 3]), np.array([0, 1, 2], np.int32))).save(
        root / "catalog"
    )
    for domain in DOMAINS:
        labels = generator.integers(0, 3, ITEMS).astype(np.int32)
        Patterns(vectors[:3], labels, np.zeros(3, np.int8), np.zeros(ITEMS, np.int8)).save(
            root / "patterns" / f"{domain}.npz"
        )
        DensityPredictor(vectors[4], 0.2, 1.0).save(root / "predictor" / domain / "predictor.npz")
    return Context(
        root=root,
        domains=DOMAINS,
        params=Params(),
        scratch=root / "scratch",
        logger=logging.getLogger("test"),
        run_uri=str(root),
        run_config=RunConfig(catalogue="/data/shop"),
    )


def test_it_publishes_every_view_and_says_what_it_wrote(context):
    facts = run(context)
    views = {"item_embedding", "item_activity", "item_metric_drama", "item_metric_quality"}
    assert facts["written"] == dict.fromkeys(views, ITEMS) == facts["online"]
    assert facts["seconds"] > 0
    assert set(json.loads((context.root / "features" / "digests.json").read_text())) == views
    store = open_store(REPOSITORY, context.root.parent / ".features" / facts["store"].rpartition("/")[2])
    catalog = Catalog.load(context.input("catalog"))
    assert OnlineItems(store).embeddings(catalog.item_ids).tobytes() == catalog.embeddings.tobytes()
    assert {each.name for each in store.list_feature_services()} == set(facts["services"].values())


def test_an_attempt_after_a_crash_is_the_same_night_though_the_input_has_no_times(context):
    first = run(context)
    digests = (context.root / "features" / "digests.json").read_bytes()
    again = run(context)
    assert again["as_of"] == first["as_of"]
    assert set(again["written"].values()) == {0}
    assert (context.root / "features" / "digests.json").read_bytes() == digests


def test_the_night_of_an_input_with_times_is_that_of_its_last_interaction(context):
    catalog = Catalog.load(context.input("catalog"))
    newest = datetime(2026, 3, 1, tzinfo=UTC)
    times = np.array([1, 2, int(newest.timestamp()) * 1_000_000])
    sequences = Sequences(catalog.sequences.offsets, catalog.sequences.items, times)
    Catalog(**{**vars(catalog), "sequences": sequences}).save(context.input("catalog"))
    facts = run(context)
    assert facts["as_of"] == newest.isoformat()
    files = list((context.root.parent / ".features").rglob("item_embedding/*.parquet"))
    assert [OfflineRows(file.parents[2]).files("item_embedding")[0].event for file in files] == [newest]
