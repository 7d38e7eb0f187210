"""Frozen questions of a run are put to both, as the service asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.inference.retrieval import Query, generate_queries
from modit.metric.cases import Cases
from modit.metric.patterns import Patterns
from modit.release.gate.champion import NONE, Champion, fetch_champion
from modit.release.gate.change_preview import LOGGED, logged_anchors, preview_change
from tests.unit.samplers import DIMENSION
from tests.unit.serve.bundles import ITEMS, Bundle


def ask(sampler, seeds):
    return generate_queries(sampler, [Query(seeds, k=1)])[0]


@pytest.fixture
def run(sampler_file, tmp_path):
    """A run with cases in one split, and its bundle."""
    bundle = Bundle(str(tmp_path / "run"), tmp_path, sampler_file, ("drama",))
    folders = {name: Path(bundle.run) / name for name in ("catalog", "index")}
    folders["sampler"] = Path(bundle.run) / "sampler" / "drama"
    for name in ("patterns", "cases", "champion"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, ITEMS).astype(np.int32)
    splits = np.zeros(3, np.int8), np.zeros(ITEMS, np.int8)
    Patterns(np.zeros((3, DIMENSION), np.float32), labels, *splits).save(folders["patterns"] / "drama.npz")
    seeds = generator.permutation(ITEMS)[:120].reshape(20, 6).astype(np.int32)
    Cases(seeds, seeds[:, :2], np.arange(20, dtype=np.int32) % 3).save(folders["cases"] / "item_holdout.npz")
    nothing = np.zeros((0, 6), np.int32)
    Cases(nothing, nothing, np.zeros(0, np.int32)).save(folders["cases"] / "pattern_holdout.npz")
    return bundle, folders


def test_the_champion_brought_again_changes_no_list(run):
    bundle, folders = run
    fetch_champion(bundle.named("drama", 3), "drama", bundle.catalog, folders["champion"])
    content = preview_change(folders, "drama", ask)
    assert content["against"] == "the champion modit-drama/3"
    lines = {entry["slice"]: entry for entry in content["slices"]}
    assert list(lines) == [
        "all",
        "item_holdout",
        "item_holdout, head patterns",
        "item_holdout, tail patterns",
        "item_holdout, new items",
    ]
    assert (lines["all"]["queries"], lines["all"]["changed"], lines["all"]["kept"]) == (20, 0.0, 1.0)
    assert lines["item_holdout, new items"] == {"slice": "item_holdout, new items", "queries": 0}


def test_without_a_champion_it_compares_with_average_pooling_and_says_so(run):
    _, folders = run
    Champion(NONE, "nothing was promoted").save(folders["champion"])
    content = preview_change(folders, "drama", ask)
    assert content["against"].startswith("average pooling of the seeds, because there is no champion to ask: nothing")
    assert content["slices"][0]["changed"] > 0 and 1 <= len(content["examples"]) <= 3
    assert content["examples"][0]["goes"][0].startswith("Title of item-")


def test_logged_requests_are_questions_too(run):
    bundle, folders = run
    Champion(NONE, "nothing was promoted").save(folders["champion"])
    ids = bundle.catalog.item_ids[[3, 9, 9, 40]].tolist()
    columns = {"domain": ["drama", "drama", "drama", "crime"], "anchor_item_id": ids}
    pq.write_table(pa.table(columns), folders["catalog"] / "retrieval_labels.parquet")
    assert logged_anchors(folders["catalog"] / "retrieval_labels.parquet", bundle.catalog, "drama").tolist() == [3, 9]
    lines = {entry["slice"]: entry for entry in preview_change(folders, "drama", ask)["slices"]}
    assert (lines[LOGGED]["queries"], lines["all"]["queries"]) == (2, 22)


def test_a_domain_without_any_question_has_an_empty_preview(run):
    _, folders = run
    (folders["cases"] / "pattern_holdout.npz").replace(folders["cases"] / "item_holdout.npz")
    nothing = np.zeros((0, 6), np.int32)
    Cases(nothing, nothing, np.zeros(0, np.int32)).save(folders["cases"] / "pattern_holdout.npz")
    Champion(NONE, "nothing was promoted").save(folders["champion"])
    assert preview_change(folders, "drama", ask)["slices"] == []
