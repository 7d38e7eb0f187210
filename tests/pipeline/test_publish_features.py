"""The step `publish_features` on hand-made artifacts of the steps before it."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from components.publish_features import STEP
from components.publish_features.run import run
from modit.core.errors import ArtifactError, FeatureParityError
from modit.core.run_config import RunConfig
from modit.core.shards import combined
from modit.core.step import BUCKETS, WHOLE, Shard
from modit.core.storage import Storage, sha256_of_file
from modit.core.window import Days
from modit.data.catalog import Catalog, Sequences
from modit.features.lookup import OnlineItems
from modit.features.parity import proven_matrix
from modit.features.rows import OfflineRows, RowFile
from modit.features.store import open_store, service_name
from modit.features.tables import FeatureTable
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor
from modit.params import Params
from modit.release.bundle.embedding_space import Space

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
    for name in ("catalog", "patterns", *(f"predictor/{domain}" for domain in DOMAINS)):
        (root / name).mkdir(parents=True)
    vectors = generator.standard_normal((ITEMS, 8)).astype(np.float32)
    ids = np.array([f"i{number}" for number in range(ITEMS)])
    verdicts = {domain: np.ones(ITEMS, np.int8) for domain in DOMAINS}
    Catalog(ids, vectors, verdicts, None, Sequences(np.array([0, 3]), np.array([0, 1, 2], np.int32))).save(
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
        notes=Storage(str(root / "notes")),
        shard=WHOLE,
        logger=logging.getLogger("test"),
        run_uri=str(root),
        run_config=RunConfig(catalogue="/data/shop"),
        days=None,
    )


def give_times(context: Context, newest: datetime) -> None:
    """Lets the three interactions happen a day apart, the last at `newest`."""
    catalog = Catalog.load(context.input("catalog"))
    times = np.array([int((newest - timedelta(days=back)).timestamp()) * 1_000_000 for back in (2, 1, 0)])
    # Copies: the arrays are mapped to the files that are written here.
    sequences = Sequences(np.array(catalog.sequences.offsets), np.array(catalog.sequences.items), times)
    embeddings = np.array(catalog.embeddings)
    Catalog(**{**vars(catalog), "embeddings": embeddings, "sequences": sequences}).save(context.input("catalog"))


def rows_of(context: Context, view: str) -> list[RowFile]:
    return OfflineRows(next(context.root.parent.glob(".features/*"))).files(view)


def digests_of(context: Context) -> list[bytes]:
    return [file.read_bytes() for file in sorted((context.root / "features").iterdir())]


def test_it_publishes_every_view_and_says_what_it_wrote(context):
    facts = run(context)
    views = {"item_embedding", "item_activity", "item_metric_drama", "item_metric_quality"}
    assert facts["written"] == dict.fromkeys(views, ITEMS) == facts["online"]
    assert facts["seconds"] > 0
    files = sorted((context.root / "features").glob("parity-*.json"))
    assert len(files) == BUCKETS and all(set(json.loads(file.read_text())["views"]) == views for file in files)
    assert proven_matrix(context.root / "features") == sha256_of_file(context.input("catalog") / "embeddings.npy")
    store = open_store(context.root.parent / ".features" / facts["store"].rpartition("/")[2])
    catalog = Catalog.load(context.input("catalog"))
    assert OnlineItems(store).embeddings(catalog.item_ids).tobytes() == catalog.embeddings.tobytes()
    assert {each.name for each in store.list_feature_services()} == set(facts["services"].values())
    assert OnlineItems(store).space() == Space.of(catalog.item_ids, catalog.embeddings).version


def test_a_proof_that_lacks_a_shard_or_names_another_matrix_is_none(context):
    run(context)
    (context.root / "features/parity-07.json").unlink()
    with pytest.raises(ArtifactError, match=r"features has no parity-07.json"):
        proven_matrix(context.root / "features")
    (context.root / "features/parity-07.json").write_text('{"matrix": "0", "views": {}}')
    with pytest.raises(ArtifactError, match="field matrix has the values 0, "):
        proven_matrix(context.root / "features")


def test_a_night_that_is_read_back_otherwise_leaves_no_proof(context, monkeypatch):
    real = OfflineRows.append

    def one_bit_less(self, table, *arguments):
        changed = {name: values.copy() for name, values in table.columns.items()}
        next(iter(changed.values()))[0] = 0
        return real(self, FeatureTable(table.view, table.item_ids, changed), *arguments)

    monkeypatch.setattr(OfflineRows, "append", one_bit_less)
    with pytest.raises(FeatureParityError):
        run(context)
    assert not list(context.root.glob("features/*"))


def test_an_attempt_after_a_crash_is_the_same_night_though_the_input_has_no_times(context):
    first = run(context)
    digests = digests_of(context)
    again = run(context)
    assert again["as_of"] == first["as_of"]
    assert set(again["written"].values()) == {0}
    assert digests_of(context) == digests


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_are_one_night_and_write_the_digests_of_one_task(context, monkeypatch, count):
    facts = run(context)
    digests = digests_of(context)
    shutil.rmtree(context.root / "features")
    monkeypatch.setenv("MODIT_FEATURES", str(context.root / "store of shards"))
    said = []
    for context.shard in Shard.all_of(count):
        said.append(run(context))
    assert digests_of(context) == digests
    together = combined(STEP, said)
    assert (together["written"], together["online"]) == (facts["written"], facts["online"])
    assert {each["as_of"] for each in said} == {facts["as_of"]}
    catalog = Catalog.load(context.input("catalog"))
    store = open_store(context.root / "store of shards")
    assert OnlineItems(store).embeddings(catalog.item_ids).tobytes() == catalog.embeddings.tobytes()


def test_services_in_use_by_the_registry_outlive_the_newest_runs(context, monkeypatch):
    monkeypatch.setattr("components.publish_features.run.runs_in_use", lambda run_uri: {"first"})
    context.params = Params.model_validate({"publish_features": {"services_kept": 1}})
    for name in ("first", "second", "third"):
        context.run_uri = name
        monkeypatch.setenv("MODIT_FEATURES", str(context.root / "store"))
        facts = run(context)
    assert facts["services_dropped"] == [service_name(domain, "second") for domain in DOMAINS]


def test_without_a_window_the_night_is_that_of_the_last_interaction(context):
    newest = datetime(2026, 3, 1, 12, tzinfo=UTC)
    give_times(context, newest)
    assert run(context)["as_of"] == newest.isoformat()
    assert [file.event for file in rows_of(context, "item_embedding")] == [newest]


def test_the_night_of_a_window_is_its_end_though_nothing_happened_on_its_last_day(context):
    give_times(context, datetime(2026, 3, 1, 12, tzinfo=UTC))
    context.days = Days(date(2026, 2, 1), date(2026, 3, 4))
    assert run(context)["as_of"] == "2026-03-04T00:00:00+00:00"
    batch = next(rows_of(context, "item_activity")[0].batches())
    days = dict(zip(batch["item_id"].to_pylist(), batch["days_since_seen"].to_pylist(), strict=True))
    assert (days["i0"], days["i1"], days["i2"], days["i3"]) == (4.5, 3.5, 2.5, None)


def test_two_runs_of_one_window_are_one_night_and_the_next_window_is_a_later_one(context):
    give_times(context, datetime(2026, 3, 1, 12, tzinfo=UTC))
    context.days = Days(date(2026, 2, 1), date(2026, 3, 2))
    assert set(run(context)["written"].values()) == {ITEMS}
    context.run_uri = f"{context.root}-again"
    assert set(run(context)["written"].values()) == {0}
    # No row is newer: yet it is another night, at which the items have not been seen for a day longer.
    context.run_uri, context.days = f"{context.root}-next", Days(date(2026, 2, 2), date(2026, 3, 3))
    facts = run(context)
    assert (facts["status"], facts["written"]["item_activity"], facts["written"]["item_embedding"]) == (
        "published",
        ITEMS,
        0,
    )
    context.run_uri, context.days = f"{context.root}-late", Days(date(2026, 2, 1), date(2026, 3, 2))
    assert run(context)["status"] == "older"
    # What a run without a window knows ends with its last interaction, which is before the end of the night.
    context.run_uri, context.days = f"{context.root}-all", None
    assert run(context)["status"] == "older"
