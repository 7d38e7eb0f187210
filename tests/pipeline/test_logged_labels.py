"""Labels that production logged are what `label_anchors` hands on; the index is asked about the other anchors."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.core.step import Shard
from modit.data.catalog import Catalog
from modit.data.contract import LABEL_SCHEMA
from modit.data.demo import DemoParameters, write_demo_world
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.items import load_items
from modit.metric.anchors import read_labels
from modit.metric.patterns import Patterns
from modit.serve.request_log import LoggedRequest, RequestLog

ROOT = Path(__file__).resolve().parents[2]
ANCHORS, DEPTH = 40, 60


@pytest.fixture
def runner(tmp_path) -> StepRunner:
    """A run on a demo world with logs of production's answers to the first items, in domain quality."""
    world = tmp_path / "world"
    write_demo_world(world, DemoParameters(items=5_000, domains=2, days=3))
    items = pq.read_table(world / "items.parquet")
    ids = np.array(items["item_id"].to_pylist())
    vectors = items["embedding"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
    index = ItemIndex.build(vectors, ids, IndexParams(kind="flat"))
    found = index.search(vectors[:ANCHORS], DEPTH, exclude=np.arange(ANCHORS)[:, None]).rows
    label = items["attr_quality"].to_numpy()
    rows = {
        "request_id": [f"r{anchor}" for anchor in range(ANCHORS) for _ in range(DEPTH)],
        "timestamp": [_first_moment(world)] * (ANCHORS * DEPTH),
        "domain": ["quality"] * (ANCHORS * DEPTH),
        "anchor_item_id": np.repeat(ids[:ANCHORS], DEPTH).tolist(),
        "rank": np.tile(np.arange(1, DEPTH + 1), ANCHORS),
        "item_id": ids[found.ravel()].tolist(),
        "label": label[found.ravel()],
    }
    pq.write_table(pa.table(rows).cast(LABEL_SCHEMA), world / "retrieval_labels.parquet")
    return prepared(tmp_path / "runs" / "one", world)


def prepared(run: Path, world: Path, **overrides: object) -> StepRunner:
    """A runner of a run that is ready to be labelled."""
    conf = {"catalogue": str(world), "preset": "tiny", "overrides": overrides}
    runner = StepRunner(REGISTRY, str(run), ROOT / "params.yaml", conf)
    for step in ("validate_logs", "assign_patterns", "stage_index"):
        runner.execute(step)
    return runner


def test_lists_of_the_logs_are_used_and_the_index_is_asked_about_other_anchors(runner):
    for domain in ("quality", "popular"):
        runner.execute("label_anchors", domain)
    manifest = runner.store.get("retrieval_labels", "quality")
    labels = read_labels(runner.store.read("retrieval_labels", "quality"))
    anchors = set(labels.filter(labels["logged"])["anchor"].to_pylist())
    assert len(anchors) == manifest.summary["anchors_from_logs"] > ANCHORS / 5
    assert manifest.summary["anchors_from_logs"] + manifest.summary["anchors_asked"] == 500
    assert len(set(labels["anchor"].to_pylist())) == 500
    assert runner.store.get("retrieval_labels", "popular").summary["anchors_from_logs"] == 0


def test_a_list_of_the_logs_without_what_is_held_out_is_what_the_index_says_itself(runner):
    """The same index is behind both: production's over all items, ours over the trainable ones."""
    runner.execute("label_anchors", "quality")
    _assert_lists_of_the_logs_are_those_of_the_index(runner)


def test_what_the_service_logs_passes_validation_and_is_what_label_anchors_would_find_itself(runner, tmp_path):
    """The other way round: lists that the service wrote into the catalogue, read by the next night."""
    digest = ItemIndex.load(runner.store.read("index")).digest
    world, items = (
        tmp_path / "world",
        load_items(runner.store.read("index"), runner.store.read("catalog"), (digest, "")),
    )
    (world / "retrieval_labels.parquet").unlink()
    log = RequestLog(str(world), lists_a_second=1e6)
    release = SimpleNamespace(items=items, depth=DEPTH // 3, source=SimpleNamespace(domain="quality"))
    for row, item_id in enumerate(items.ids_of(np.arange(ANCHORS))):
        log.add(LoggedRequest(f"r{row}", _first_moment(world), [(item_id, row)], release))
    log.start()
    while len(log._lists) < ANCHORS:
        time.sleep(0.01)
    log.stop()
    night = prepared(tmp_path / "runs" / "next", world)
    assert pq.read_table(night.store.read("quarantine") / "retrieval_labels.parquet").num_rows == 0
    night.execute("label_anchors", "quality")
    assert night.store.get("retrieval_labels", "quality").summary["anchors_from_logs"] > ANCHORS / 5
    _assert_lists_of_the_logs_are_those_of_the_index(night)


def test_any_number_of_shards_gives_the_same_labels(runner):
    runner.execute("label_anchors", "quality")
    whole = runner.store.get("retrieval_labels", "quality")
    for count in (2, 3, 7):
        folder = runner.store.at("retrieval_labels", "quality").local
        shutil.rmtree(folder)
        statuses = [runner.execute("label_anchors", "quality", shard).status for shard in Shard.all_of(count)]
        joined = runner.store.get("retrieval_labels", "quality")
        assert statuses == ["part"] * (count - 1) + ["ran"]
        assert (joined.digest, joined.summary) == (whole.digest, whole.summary)


def test_an_index_in_several_files_gives_the_same_labels(runner, tmp_path):
    other = prepared(tmp_path / "runs" / "two", tmp_path / "world", **{"stage_index.shards": 3})
    for each in (runner, other):
        each.execute("label_anchors", "quality")
    index, parts = (ItemIndex.load(each.store.read("index")) for each in (runner, other))
    assert (index.meta.shards, parts.meta.shards) == (1, 3) and index.digest != parts.digest
    labels, of_parts = (each.store.get("retrieval_labels", "quality") for each in (runner, other))
    assert labels.digest == of_parts.digest and labels.key != of_parts.key


def _assert_lists_of_the_logs_are_those_of_the_index(runner: StepRunner) -> None:
    labels = read_labels(runner.store.read("retrieval_labels", "quality")).to_pylist()
    catalog = Catalog.load(runner.store.read("catalog"))
    trainable = Patterns.load(runner.store.read("patterns") / "quality.npz").trainable
    lists = defaultdict(list)
    for each in labels:
        if each["logged"]:
            lists[each["anchor"]].append(each["item"])
    assert lists
    index = ItemIndex.load(runner.store.read("index"))
    for anchor, logged in lists.items():
        vector = np.asarray(catalog.embeddings)[[anchor]]
        own = index.search(vector, len(logged), allowed=trainable, exclude=np.array([[anchor]])).rows[0]
        assert own.tolist() == logged


def _first_moment(world: Path) -> object:
    part = min((world / "interactions").rglob("*.parquet"))
    return pq.read_table(part)["timestamp"][0].as_py()
