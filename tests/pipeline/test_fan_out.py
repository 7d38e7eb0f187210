"""The real steps of the pipeline `fan_out` on a small catalogue of intents with sets of items."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.cli import main
from modit.core.errors import ContractError, InsufficientDataError
from modit.core.runner import StepRunner
from modit.data.judged_queries import JudgedQueries
from modit.evaluate.families.page import compare_families
from modit.evaluate.fan_out.names import (
    BEST_OF,
    BM25,
    DIFFUSION,
    DIFFUSION_UNTRAINED,
    DPP,
    MMR,
    NO_FAN_OUT,
    POLICY,
    REGRESSION,
    SERVED,
    SPACE,
    UNTRAINED,
    WITH_INTENT,
)
from modit.inference.fan_out_files import FAN_OUT_FILE, FILES
from modit.release.model_registry.registry_access import tracking_uri
from modit.serve.releases import ask_registry
from tests.unit.serve.conftest import running

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PIPELINE = REGISTRY.of("fan_out")
COLOURS = ["red", "green", "blue", "black", "white", "brown", "grey", "pink"]
THINGS = ["paint", "brush", "hammer", "ladder", "faucet", "drill"]


def runner(run: Path, catalogue: Path, **overrides: object) -> StepRunner:
    conf = {"catalogue": str(catalogue), "preset": "tiny", "pipeline": "fan_out", "overrides": overrides}
    return StepRunner(REGISTRY, str(run), PARAMS, conf)


def write_catalogue(folder: Path, items: int = 48, **columns: object) -> Path:
    """Items with a title alone; intents ask for a thing in some colours, with words that no title has, too."""
    folder.mkdir()
    titles = [f"{colour} {thing}" for colour, thing in itertools.product(COLOURS, THINGS)][:items]
    ids = [f"item-{row}" for row in range(items)]
    pq.write_table(pa.table({"item_id": ids, "title": titles}), folder / "items.parquet")
    apart = max(1, items // len(COLOURS))
    sets = [[f"item-{(n + m * apart) % items}" for m in range(3)] for n in range(120)]
    texts = [f"several {THINGS[n % len(THINGS)]} please" if n % 7 else "壁紙 et покраска" for n in range(120)]
    split = [("train", "train", "valid", "test")[n // len(THINGS) % 4] for n in range(120)]
    bundles = {"bundle_id": [f"b{n}" for n in range(120)], "intent": texts, "item_ids": sets, "split": split}
    pq.write_table(pa.table(bundles | columns), folder / "bundles.parquet")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fan_out")
    steps = runner(folder / "run", write_catalogue(folder / "texts"))
    for step in PIPELINE.steps:
        steps.execute(step.name)
    return folder / "run"


def test_every_row_is_judged_at_one_pool_with_intervals(run):
    content = json.loads((run / "fan_out_evaluation" / "evaluation.json").read_text())
    result = content["splits"]["test"]
    rows = {row["name"]: row for row in result["rows"]}
    expected = {
        MMR,
        DPP,
        BM25,
        SPACE,
        NO_FAN_OUT,
        UNTRAINED,
        BEST_OF.format(count=5),
        POLICY,
        WITH_INTENT.format(row=POLICY),
    }
    assert set(rows) == expected | {DIFFUSION, DIFFUSION_UNTRAINED, REGRESSION, SERVED}
    assert result["cases"] == content["intents"]["test"] > 0
    for row in rows.values():
        assert 0 <= row["coverage"] <= row["hit"] <= 1 and 0 <= row["diversity"] <= 1 and row["coverage_interval"]
    assert set(rows[BM25]["tuned"]["setting"]) == {"k1", "b", "stemmer"} and rows[BM25]["kind"] == "classical"
    assert rows[NO_FAN_OUT]["alignment"] == pytest.approx(1, abs=1e-5) and rows[NO_FAN_OUT]["variety"] == 0
    assert rows[MMR]["alignment"] is None and set(rows[DIFFUSION]["tuned"]["setting"]) == {"guidance"}


def test_the_report_names_every_row(run):
    page = (run / "fan_out_evaluation" / "report.html").read_text()
    for text in (NO_FAN_OUT, MMR, POLICY, DIFFUSION, REGRESSION, "Fan-out: texts", "Small and larger sets"):
        assert text in page


def test_a_table_of_bundles_becomes_queries_with_their_labels(run):
    judged = JudgedQueries.load(run / "catalog")
    assert len(judged) == 120 and judged.texts[0] == "壁紙 et покраска"
    assert judged.labels(1)[0].tolist() == [1, 7, 13] and (judged.relevance == 1).all()


def test_the_same_seed_gives_the_same_bytes(run, tmp_path):
    steps = runner(tmp_path / "again", run.parent / "texts", **{"runner.cross_run_cache": False})
    for step in PIPELINE.steps:
        steps.execute(step.name)
        if step.name == "export_fan_out":
            break
    trained = ["text_space/text_space.npz", "aligned_fan_out_policy/model.pt", "set_diffusion/aligned/model.pt"]
    exported = [f"exported_fan_out/{name}" for name in (FAN_OUT_FILE, *FILES)]
    for name in trained + exported:
        assert (run / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_it_has_a_column_beside_the_other_families(run, tmp_path):
    page, written = compare_families([str(run)], tmp_path, 10)
    content = json.loads(written.read_text())
    (family,) = content["families"]
    assert [(each["figure"], each["about"]) for each in family["quality"]] == [
        ("coverage", "test intents"),
        ("diversity", "test intents"),
    ]
    assert family["quality"][0]["rival"]["row"] in (NO_FAN_OUT, BM25, SPACE, MMR, DPP)
    for figure in ("request", "p50_ms", "peak_mb", "files_mb", "training_seconds", "parameters"):
        assert family[figure]["value"], figure
    assert "no run has a retriever that can answer sessions" in page.read_text()


def test_it_ends_with_a_verdict_and_a_version_that_is_promoted_as_any_other_and_answers(run, capsys):
    assert main(["verdict", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "no champion: absolute thresholds" in shown and "verdict: FAIL" in shown  # there are too few intents
    assert "coverage 0." in shown and "fan_out: p50" in shown
    registered = json.loads((run / "fan_out_registration" / "registration.json").read_text())["fan_out"]
    assert (registered["model"], registered["status"], registered["alias"]) == ("modit-fan_out", "rejected", None)
    order = [f"modit-fan_out/{registered['version']}", "--run", str(run), "--by", "ann"]
    order += ["--verdict", registered["digests"]["verdict"]]
    assert main(["override", *order, "--reason", "to have a champion"]) == 0

    # The next night finds the same, and is judged against it.
    steps = runner(run.parent / "after", run.parent / "texts")
    for step in PIPELINE.steps:
        steps.execute(step.name)
    judged = json.loads((run.parent / "after" / "fan_out_verdict" / "verdict.json").read_text())["domains"]["fan_out"]
    assert judged["basis"] == f"champion modit-fan_out/{registered['version']}"
    held = {each["name"]: each["holds"] for each in judged["keys"]["quality"]["findings"]}
    assert held["coverage of Champion"] and held["items of the champion"]

    with running(ask_registry(tracking_uri(str(run)), "champion"), reload_seconds=60) as client:
        answer = client.post("/v1/fan_out", json={"text": "qwrtzp brush", "k": 6}).json()
        assert answer["model"] == "modit-fan_out" and answer["unknown_words"] == ["qwrtzp"]
        assert len({item["item_id"] for item in answer["items"]}) == 6 and len(answer["queries"]) == 4


def test_a_set_larger_than_the_catalogue_has_one_result_for_each_query(tmp_path):
    steps = runner(tmp_path / "run", write_catalogue(tmp_path / "texts", items=6), **{"train_fan_out.queries": 8})
    for step in PIPELINE.steps:
        steps.execute(step.name)
    content = json.loads((tmp_path / "run" / "fan_out_evaluation" / "evaluation.json").read_text())
    assert content["pool"] == content["items"] == 6 and content["queries"] == 8


def test_a_catalogue_of_one_item_is_refused(tmp_path):
    steps = runner(tmp_path / "run", write_catalogue(tmp_path / "texts", items=1, item_ids=[["item-0"]] * 120))
    steps.execute("validate_logs")
    with pytest.raises(InsufficientDataError, match="1 with 2 words in their titles"):
        steps.execute("train_fan_out")


def test_a_table_of_bundles_without_lists_is_refused_with_its_columns(tmp_path):
    steps = runner(tmp_path / "run", write_catalogue(tmp_path / "texts", item_ids=["item-0"] * 120))
    with pytest.raises(ContractError, match="allowed: Parquet with bundle_id, intent, and item_ids, a list"):
        steps.execute("validate_logs")


def test_lists_of_large_offsets_as_some_writers_make_them_are_read(run, tmp_path):
    sets = pq.read_table(run.parent / "texts" / "bundles.parquet")["item_ids"].to_pylist()
    folder = write_catalogue(tmp_path / "texts", item_ids=pa.array(sets, pa.large_list(pa.string())))
    runner(tmp_path / "run", folder).execute("validate_logs")
    assert JudgedQueries.load(tmp_path / "run" / "catalog").labels(1)[0].tolist() == [1, 7, 13]
