"""The real steps of the pipeline `towers` on a small catalogue of texts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.core.errors import InsufficientDataError
from modit.core.runner import StepRunner
from modit.evaluate.search.names import BM25, FUSED, INDEXED, SIAMESE, SYMMALIGNER, TOWERS
from modit.towers.consistent_index import ConsistentIndex

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PIPELINE = REGISTRY.of("towers")
COLOURS = ["red", "green", "blue", "black", "white", "brown", "grey", "pink"]
THINGS = ["paint", "brush", "hammer", "ladder", "faucet", "drill"]


def runner(run: Path, catalogue: Path) -> StepRunner:
    conf = {"catalogue": str(catalogue), "preset": "tiny", "pipeline": "towers"}
    return StepRunner(REGISTRY, str(run), PARAMS, conf)


def write_catalogue(folder: Path, queries: bool = True) -> Path:
    """48 items with a title alone; a query asks for each, and one other item is judged, too."""
    folder.mkdir()
    pairs = list(itertools.product(COLOURS, THINGS))
    ids = [f"item-{row}" for row in range(len(pairs))]
    titles = [f"{colour} {thing}" for colour, thing in pairs]
    pq.write_table(pa.table({"item_id": ids, "title": titles}), folder / "items.parquet")
    if queries:
        texts = [f"{thing}s {colour}" for colour, thing in pairs]
        pq.write_table(pa.table({"query_id": ids, "text": texts}), folder / "queries.parquet")
        labels = {"query_id": ids * 2, "item_id": ids + ids[1:] + ids[:1], "relevance": [3.0] * 48 + [1.0] * 48}
        pq.write_table(pa.table(labels), folder / "labels.parquet")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("towers")
    steps = runner(folder / "run", write_catalogue(folder / "texts"))
    for step in PIPELINE.steps:
        steps.execute(step.name)
    return folder / "run"


def test_every_row_is_judged_on_the_test_queries_with_intervals(run):
    content = json.loads((run / "search_evaluation" / "evaluation.json").read_text())
    result = content["splits"]["test"]
    assert {row["name"] for row in result["rows"]} == {BM25, TOWERS, SIAMESE, SYMMALIGNER, INDEXED, FUSED}
    assert result["cases"] == content["queries"]["test"]["cases"] > 0
    for row in result["rows"]:
        assert 0 <= row["ndcg_at_10"] <= 1 and row["recall_at_10"] <= row["recall_at_100"] <= 1
    tuned = {row["name"]: row["tuned"]["setting"] for row in result["rows"] if row["tuned"]}
    assert set(tuned[BM25]) == {"k1", "b"} and set(tuned[FUSED]) == {"constant"}


def test_the_report_names_every_row_and_how_alike_the_towers_are(run):
    page = (run / "search_evaluation" / "report.html").read_text()
    for text in (BM25, SYMMALIGNER, INDEXED, FUSED, "Search: texts", "How alike the two towers see a text"):
        assert text in page
    facts = json.loads((run / "search_evaluation" / "evaluation.json").read_text())["misalignment"]
    assert facts[SIAMESE]["items"] == pytest.approx(1.0, abs=1e-5)


def test_the_index_holds_every_item_once(run):
    index = ConsistentIndex.load(run / "consistent_index")
    assert index.sizes.sum() == index.facts.items == len(COLOURS) * len(THINGS)


def test_a_step_that_is_run_again_is_skipped(run):
    steps = runner(run, run.parent / "texts")
    before = (run / "towers" / "base" / "model.pt").stat().st_mtime_ns
    steps.execute("train_towers")
    assert (run / "towers" / "base" / "model.pt").stat().st_mtime_ns == before


def test_a_catalogue_without_queries_is_refused_by_name(tmp_path):
    steps = runner(tmp_path / "run", write_catalogue(tmp_path / "texts", queries=False))
    steps.execute("validate_logs")
    with pytest.raises(InsufficientDataError, match="no queries; search needs the tables queries"):
        steps.execute("train_towers")
