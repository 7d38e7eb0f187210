"""The steps `evaluate` and `render_report` on artifacts as the steps before write them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from components.evaluate import HPPO_OUTPUTS
from components.evaluate.run import run as run_evaluate
from components.render_report.run import run as run_render_report
from modit.core.run_config import RunConfig
from modit.evaluate.records import VARIANT_WORDS
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.task import Row
from modit.export.sampler import export_vote
from modit.hppo.params import VARIANTS
from modit.inference.retrieval import Query
from modit.inference.untrained import untrained_retriever
from modit.inference.vote_file import VOTE_FILE
from modit.model.readout import Move, readout_json
from modit.params import Params
from modit.release.gate.champion import NONE, Champion
from modit.training.checkpoint import save_model
from tests.unit.evaluate.conftest import DIMENSION, build_stage


@dataclass
class FolderContext:
    """What the steps use of a step context, over plain folders."""

    root: Path
    params: Params
    domain: str | None = "rare"
    left_out: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    run_config: RunConfig = RunConfig(catalogue="/somewhere/books/", preset="tiny")
    there: dict[str, Path] = field(default_factory=dict)

    def started_from_by_domain(self, name: str) -> dict[str, Path]:
        assert name == "readout"
        return self.there

    def input(self, name: str) -> Path:
        return self.root / name

    def inputs_by_domain(self, name: str) -> dict[str, Path]:
        return {"rare": self.root / name}

    def output(self, name: str) -> Path:
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name


def _write_artifacts(root: Path, context: EvaluationContext, models: list[Row[Query]]) -> None:
    stages = dict(zip(("pretrained", "continued", "finetuned"), models, strict=False))
    stages |= dict.fromkeys(HPPO_OUTPUTS, models[3])
    read = ("catalog", "patterns", "predictor", "cases", "index", "hppo_variants", "champion", "readout")
    for name in (*read, "second_stage", *stages):
        (root / name).mkdir()
    Champion(NONE, "nothing was promoted").save(root / "champion")
    readout = readout_json(0.5, [Move("mean", "density", 0.6), Move("best", "both", 0.3)], [0.7, 0.3])
    (root / "readout" / "readout.json").write_text(json.dumps(readout))
    build_stage(context).save(root / "second_stage")
    (root / "hppo_variants" / "variants.json").write_text(json.dumps({"hppo": "pareto", "names": []}))
    context.catalog.save(root / "catalog")
    context.patterns.save(root / "patterns" / "rare.npz")
    (root / "patterns" / "domains.json").write_text(json.dumps({"domains": ["rare"], "skipped": {"odd": "too few"}}))
    context.predictor.save(root / "predictor" / "predictor.npz")
    context.geometry.save(root / "predictor" / "geometry.npz")
    (root / "predictor" / "validation.json").write_text("[]")
    context.index.save(root / "index")
    for split, cases in context.cases.items():
        cases.save(root / "cases" / f"{split}.npz")
    figures = {"item_joint": 0.1, "item_same": 0.9, "pattern_joint": 0.2, "pattern_same": 0.8}
    rounds = [{"round": number, "kept": True, "guidance": 1.0 + number, **figures} for number in (0, 1)]
    blends = [{"share": share, "joint": 0.15, **figures} for share in (1.0, 0.5)]
    (root / "finetuned" / "blends.json").write_text(json.dumps(blends))
    for name, row in stages.items():
        save_model(root / name / "model.pt", row.retriever.sampler.model)
        (root / name / "curve.json").write_text(json.dumps([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]))
        (root / name / "rounds.json").write_text(json.dumps({"rounds": rounds, "stopped": True}))


@pytest.fixture(scope="module")
def step_context(
    tmp_path_factory: pytest.TempPathFactory, context: EvaluationContext, models: list[Row[Query]]
) -> FolderContext:
    root = tmp_path_factory.mktemp("run")
    _write_artifacts(root, context, models)
    return FolderContext(root, Params(sampler={"steps": 2, "samples": 2, "guidance": (1.0, 3.0)}))


def test_evaluate_and_render_report_write_what_they_declare(step_context: FolderContext) -> None:
    summary = run_evaluate(step_context)
    assert set(summary) == {"item_holdout", "pattern_holdout"}
    content = json.loads((step_context.root / "evaluation" / "evaluation.json").read_text())
    share = content["catalog"]["may_be_results"] / 1_200
    assert content["k"] == max(5, round(share * step_context.params.retrieval.depth(1_200)))
    assert content["whole_catalogue"]["k"] == step_context.params.retrieval.depth(1_200)
    assert list(content["training"]) == sorted(["pretrained", "continued", "finetuned", *HPPO_OUTPUTS])
    with np.load(step_context.root / "evaluation" / "per_case.npz") as stored:
        assert stored["item_holdout/HPPO/joint"].shape == (24,)
    run_render_report(step_context)
    assert "variants" not in content
    report = json.loads((step_context.root / "report" / "report.json").read_text())
    assert report["run"] == {"catalogue": "books", "preset": "tiny", "seed": 0, "skipped_domains": {"odd": "too few"}}
    assert "<title>modit report: books</title>" in (step_context.root / "report" / "report.html").read_text()


def test_models_are_judged_at_the_guidance_that_the_rounds_recorded(step_context: FolderContext) -> None:
    run_evaluate(step_context)
    content = json.loads((step_context.root / "evaluation" / "evaluation.json").read_text())
    guidance = {row["name"]: row["guidance"] for row in content["splits"]["item_holdout"]["rows"]}
    assert (guidance["MO-DiT"], guidance["HPPO"]) == (1.0, 2.0)
    assert guidance["Pre. GR"] in (1.0, 3.0)


@pytest.fixture
def with_variants(step_context: FolderContext, models: list[Row[Query]], tmp_path: Path) -> FolderContext:
    """The same run with two variants, whose validation chose the scale 3 before a round that was not kept."""
    root = tmp_path / "run"
    shutil.copytree(step_context.root, root)
    readout = readout_json(0.5, [Move("mean", "density", 0.6), Move("best", "both", 0.3)], [0.7, 0.3])
    (root / "readout" / "readout.json").write_text(json.dumps(readout))
    (root / "hppo_variants" / "variants.json").write_text(
        json.dumps({"hppo": "pareto", "names": ["off_policy", "adaptive"]})
    )
    figures = {"item_joint": 0.1, "item_same": 0.9, "pattern_joint": 0.2, "pattern_same": 0.8}
    rounds = [
        {"round": number, "kept": kept, "guidance": guidance, **figures}
        for number, kept, guidance in ((0, True, 1.0), (1, True, 3.0), (2, False, 2.0))
    ]
    for name, row in (("off_policy", models[0]), ("adaptive", models[4])):
        folder = root / "hppo_variants" / name
        folder.mkdir()
        save_model(folder / "model.pt", row.retriever.sampler.model)
        (folder / "curve.json").write_text(json.dumps([{"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.8}]))
        (folder / "rounds.json").write_text(json.dumps({"rounds": rounds, "stopped": True}))
    return replace(step_context, root=root)


def test_variants_are_rows_after_hppo_at_the_guidance_that_their_own_validation_chose(
    with_variants: FolderContext,
) -> None:
    run_evaluate(with_variants)
    content = json.loads((with_variants.root / "evaluation" / "evaluation.json").read_text())
    for split in content["splits"].values():
        models = [(row["name"], row["guidance"]) for row in split["rows"] if row["kind"] == "model"]
        variants = [("HPPO off-policy", 3.0), ("HPPO adaptive", 3.0)]
        parts = [("HPPO, network alone", 2.0), ("HPPO, vote alone", 2.0)]
        assert models[3:] == [("HPPO", 2.0), *parts, *variants, ("HPPO + rerank", None)]
        joint = {row["name"]: row["joint"] for row in split["rows"]}
        assert joint["HPPO off-policy"] != joint["HPPO adaptive"]
        compared = {entry["name"] for entry in split["comparisons"]}
        assert {"HPPO - HPPO off-policy", "HPPO - HPPO adaptive"} <= compared
    assert content["training"]["hppo_adaptive"] == [{"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.8}]


def test_the_page_shows_variants_with_their_rounds_and_curves(with_variants: FolderContext) -> None:
    run_evaluate(with_variants)
    run_render_report(with_variants)
    page = (with_variants.root / "report" / "report.html").read_text()
    assert page.count("HPPO − HPPO off-policy") == 2  # a comparison in each split
    assert "which is the variant Pareto, with" in page
    assert page.index("HPPO off-policy: rounds on validation") < page.index("HPPO adaptive: rounds on validation")
    assert "Loss of HPPO adaptive" in page
    assert "Loss of HPPO round 1" in page


@pytest.fixture
def added(step_context: FolderContext, tmp_path: Path) -> FolderContext:
    """The same run, as one that adds the domain to a run with two trained ones."""
    votes = {"crime": Move("mean", "attribute", 1.0), "drama": Move("mean", "both", 0.6, "30", 0.6)}
    for domain, move in votes.items():
        (tmp_path / domain).mkdir()
        (tmp_path / domain / "readout.json").write_text(json.dumps(readout_json(0.5, [move], [1.0])))
    shutil.copytree(step_context.root, tmp_path / "run")
    (tmp_path / "run" / "sampler").mkdir()
    export_vote(DIMENSION, 12, tmp_path / "run" / "sampler" / VOTE_FILE)
    return replace(step_context, root=tmp_path / "run", there={domain: tmp_path / domain for domain in votes})


def test_a_domain_that_is_added_shows_what_its_train_verdicts_gave_before_training(
    added: FolderContext, context: EvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = []
    monkeypatch.setattr(
        "modit.evaluate.seeds.rows.untrained_retriever",
        lambda domain, verdicts, *given: known.append(verdicts) or untrained_retriever(domain, verdicts, *given),
    )
    run_evaluate(added)
    run_render_report(added)
    assert [(each.known == context.patterns.trainable).all() for each in known] == [True]
    content = json.loads((added.root / "evaluation" / "evaluation.json").read_text())
    report = json.loads((added.root / "report" / "report.json").read_text())
    page = (added.root / "report" / "report.html").read_text()
    before = []
    for name, split in content["splits"].items():
        joint = {row["name"]: row["joint"] for row in split["rows"]}
        before.append(joint["Before training"])
        (compared,) = [entry for entry in split["comparisons"] if entry["name"] == "HPPO - Before training"]
        assert compared["joint"]["mean"] == pytest.approx(joint["HPPO"] - joint["Before training"], abs=2e-6)
        (cell,) = [cell for cell in report["cells"] if cell["split"] == name]
        assert cell["joint"]["before_training"] == joint["Before training"]
    # The attribute has one direction, which a hundred verdicts show; the models here are not trained.
    assert np.mean(before) > report["mean_joint"]["average"] + 0.1
    assert report["mean_joint"]["before_training"] == pytest.approx(np.mean(before))
    assert f"before training, from its verdicts {100 * np.mean(before):.1f}" in page
    assert "HPPO against what the domain&#39;s verdicts gave before training" in page
    assert "HPPO minus before training" in page


def test_a_run_that_adds_no_domain_has_no_such_row(step_context: FolderContext) -> None:
    run_evaluate(step_context)
    run_render_report(step_context)
    content = json.loads((step_context.root / "evaluation" / "evaluation.json").read_text())
    assert all(row["name"] != "Before training" for split in content["splits"].values() for row in split["rows"])
    page = (step_context.root / "report" / "report.html").read_text()
    assert "before training, from its verdicts" not in page and "HPPO minus before training" not in page


def test_every_variant_has_words() -> None:
    assert set(VARIANT_WORDS) == set(VARIANTS)
