"""The real steps of the pipeline `towers` on a small catalogue of texts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.cli import main
from modit.core.errors import ArtifactError, InsufficientDataError
from modit.core.runner import StepRunner
from modit.core.storage import sha256_of_file
from modit.evaluate.families.page import compare_families
from modit.evaluate.search.names import ALIKE, BM25, FUSED, INDEXED, SIAMESE, SPACE, SYMMALIGNER, TOWERS
from modit.index.consistent_index import ConsistentIndex
from modit.release.model_registry.registry_access import tracking_uri
from modit.serve.releases import ask_registry
from tests.unit.serve.conftest import running

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
    assert {row["name"] for row in result["rows"]} == {
        BM25, ALIKE, SPACE, TOWERS, SIAMESE, SYMMALIGNER, INDEXED, FUSED
    }  # fmt: skip
    assert result["cases"] == content["queries"]["test"]["cases"] > 0
    for row in result["rows"]:
        assert 0 <= row["ndcg_at_10"] <= 1 and row["recall_at_10"] <= row["recall_at_100"] <= 1
    tuned = {row["name"]: row["tuned"]["setting"] for row in result["rows"] if row["tuned"]}
    assert set(tuned) == {BM25} and set(tuned[BM25]) == {"k1", "b", "stemmer"}


def test_the_report_names_every_row_and_how_alike_the_towers_are(run):
    page = (run / "search_evaluation" / "report.html").read_text()
    for text in (BM25, SYMMALIGNER, INDEXED, FUSED, "Search: texts", "How alike the two towers see a text"):
        assert text in page
    facts = json.loads((run / "search_evaluation" / "evaluation.json").read_text())["misalignment"]
    assert facts[SIAMESE]["items"] == pytest.approx(1.0, abs=1e-5)


def test_it_has_a_column_beside_the_other_families_with_all_files_that_it_serves(run, tmp_path):
    _, written = compare_families([str(run)], tmp_path, 10)
    (family,) = json.loads(written.read_text())["families"]
    assert [each["figure"] for each in family["quality"]] == ["NDCG@10", "Recall@10", "Recall@100"]
    document = json.loads((run / "exported_towers" / "search.json").read_text())
    served = {"search.json", *document["files"]} - {"parity.json"}
    size = sum((run / "exported_towers" / name).stat().st_size for name in served)
    assert "text_space.npz" in served and family["files_mb"]["value"] == pytest.approx(size / 2**20, rel=1e-3)
    for figure in ("request", "p50_ms", "peak_mb", "training_seconds", "parameters"):
        assert family[figure]["value"], figure


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


def test_an_index_of_other_towers_is_not_exported(run, tmp_path):
    index = ConsistentIndex.load(run / "consistent_index")
    with pytest.raises(ArtifactError, match="run step stage_consistent_index again"):
        index.expect_towers("0" * 64)
    facts = json.loads((run / "exported_towers" / "search.json").read_text())
    assert facts["towers_digest"] == index.facts.towers == sha256_of_file(run / "towers" / "symmaligner" / "model.pt")


def test_it_ends_with_a_verdict_and_a_version_that_is_promoted_as_any_other_and_answers(run, capsys):
    assert main(["verdict", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "no champion: absolute thresholds" in shown and "verdict: FAIL" in shown  # there are too few queries
    assert shown.count("NDCG@10 0.") + shown.count("NDCG@10 1.") == 8 and "search: p50" in shown
    registered = json.loads((run / "search_registration" / "registration.json").read_text())["search"]
    assert (registered["model"], registered["status"], registered["alias"]) == ("modit-search", "rejected", None)
    order = [f"modit-search/{registered['version']}", "--run", str(run), "--by", "ann"]
    order += ["--verdict", registered["digests"]["verdict"]]
    assert main(["approve", *order]) == 1 and "not_passed" in capsys.readouterr().err
    assert main(["override", *order, "--reason", "to have a champion"]) == 0

    # The next night finds the same, and is judged against it.
    steps = runner(run.parent / "after", run.parent / "texts")
    for step in PIPELINE.steps:
        steps.execute(step.name)
    judged = json.loads((run.parent / "after" / "search_verdict" / "verdict.json").read_text())["domains"]["search"]
    assert judged["basis"] == f"champion modit-search/{registered['version']}"
    held = {each["name"]: each["holds"] for each in judged["keys"]["quality"]["findings"]}
    assert held["NDCG@10 of Champion"] and held["Recall@100 of Champion"] and held["items of the champion"]

    with running(ask_registry(tracking_uri(str(run)), "champion"), reload_seconds=60) as client:
        answer = client.post("/v1/search", json={"text": "lamps red", "k": 8}).json()
        assert answer["model"] == "modit-search" and answer["unknown_words"] == ["lamps"]
        assert "red brush" in [item["title"] for item in answer["items"]]
