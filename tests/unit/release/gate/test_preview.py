"""What would change for callers: frozen queries of a run are put to both, as the service asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.metric.cases import Cases
from modit.metric.patterns import Patterns
from modit.release.gate.champion import NONE, Champion, fetch_champion
from modit.release.gate.change_preview import (
    LOGGED,
    Lists,
    change_examples,
    change_table,
    change_text,
    logged_anchors,
    preview_change,
    save_change,
)
from tests.unit.samplers import DIMENSION
from tests.unit.serve.bundles import ITEMS, Bundle


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
    content = preview_change(folders, "drama")
    assert content["against"] == "the champion modit-drama/3"
    lines = {entry["source"]: entry for entry in content["sources"]}
    assert list(lines) == ["all", "item_holdout"]
    assert (lines["all"]["queries"], lines["all"]["changed"], lines["all"]["kept"]) == (20, 0.0, 1.0)


def test_without_a_champion_it_compares_with_average_pooling_and_says_so(run):
    _, folders = run
    Champion(NONE, "nothing was promoted").save(folders["champion"])
    content = preview_change(folders, "drama")
    assert content["against"].startswith("averaging the seeds, because there is no champion to ask: nothing")
    assert content["sources"][0]["changed"] > 0 and 1 <= len(content["examples"]) <= 2
    assert content["examples"][0]["goes"][0].startswith("Title of item-")


def test_logged_requests_are_questions_too(run):
    _, folders = run
    Champion(NONE, "nothing was promoted").save(folders["champion"])
    columns = {"domain": ["drama", "drama", "drama", "crime"], "anchor": pa.array([3, 9, 9, 40], pa.int32())}
    pq.write_table(pa.table(columns), folders["catalog"] / "retrieval_labels.parquet")
    assert logged_anchors(folders["catalog"] / "retrieval_labels.parquet", "drama").tolist() == [3, 9]
    lines = {entry["source"]: entry for entry in preview_change(folders, "drama")["sources"]}
    assert (lines[LOGGED]["queries"], lines["all"]["queries"]) == (2, 22)


def test_a_domain_without_any_question_has_an_empty_preview(run):
    _, folders = run
    (folders["cases"] / "pattern_holdout.npz").replace(folders["cases"] / "item_holdout.npz")
    nothing = np.zeros((0, 6), np.int32)
    Cases(nothing, nothing, np.zeros(0, np.int32)).save(folders["cases"] / "pattern_holdout.npz")
    Champion(NONE, "nothing was promoted").save(folders["champion"])
    assert preview_change(folders, "drama")["sources"] == []


BEFORE = np.array([[1, 2, 3], [4, 5, 6], [7, 8, -1]])
AFTER = np.array([[3, 2, 1], [4, 5, 9], [0, 9, 2]])
LISTS = Lists(BEFORE, AFTER, np.array([[10, 11], [12, -1], [13, 14]]))


def test_another_order_is_no_change_and_another_item_is():
    whole, first, last = change_table(LISTS, np.array(["head", "head", "tail"]))
    assert (whole["queries"], whole["changed"]) == (3, pytest.approx(2 / 3))
    assert whole["kept"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert (first["queries"], first["changed"]) == (2, 0.5)
    assert (last["source"], last["queries"], last["kept"]) == ("tail", 1, 0.0)


def test_the_examples_are_those_that_change_most_with_what_goes_and_comes():
    first, second = change_examples(LISTS, np.arange(3), lambda row: f"item {row}")
    assert (first["goes"], first["comes"]) == (["item 7", "item 8"], ["item 0", "item 9", "item 2"])
    assert (second["goes"], second["comes"], second["seeds"]) == (["item 6"], ["item 9"], ["item 12"])


def test_a_pattern_has_one_example():
    first, second = change_examples(LISTS, np.array([5, 6, 5]), lambda row: f"item {row}")
    assert (first["goes"], second["goes"]) == (["item 7", "item 8"], ["item 6"])


def test_the_page_is_a_table_and_titles_cannot_break_it(tmp_path):
    title = "A | [link](x) <b>"
    content = {
        "domain": "drama",
        "against": "the champion modit-drama/3",
        "champion": {"lost_items": 0.125},
        "top": 10,
        "sources": change_table(LISTS, np.array(["head", "head", "tail"])),
        "examples": change_examples(LISTS, np.arange(3), lambda row: title),
    }
    save_change(tmp_path, content)
    assert json.loads((tmp_path / "change.json").read_text())["sources"][0]["queries"] == 3
    text = (tmp_path / "change.md").read_text()
    assert text == change_text(content)
    assert "12.5 % of the champion's items could no longer be found." in text
    assert "| all | 3 | 66.7 % | 55.6 % |" in text and "| tail | 1 | 100.0 % | 0.0 % |" in text
    assert "A \\| \\[link\\](x) \\<b\\>" in text
    assert "- removed: A" in text and text.count("and 1 more") == 0
