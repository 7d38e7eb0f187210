"""The step `fit_second_stage` and its choices, on a small world."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.fit_second_stage import MODEL, STEP
from components.fit_second_stage.run import run as fit_second_stage
from modit.core.errors import ArtifactError, ConfigError
from modit.data.splits import VALIDATIONS, Split
from modit.evaluate import names
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.rows import closed_form_rows
from modit.evaluate.seeds.second_stage import served_row
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.task import Row
from modit.hppo.params import SecondStageParams
from modit.hppo.second_stage import RerankTrial, try_rerank
from modit.inference.rerank import GoodnessValues, RerankRetriever
from modit.inference.retrieval import Query
from modit.metric.attribute_model import KINDS, MEAN, fit_attribute_odds
from modit.metric.calibration import CLIP
from modit.metric.second_stage import LOG_ODDS_FILE, PATTERNS_FILE, SECOND_STAGE_FILE, SecondStage
from modit.model.readout import Move, readout_json
from modit.params import Params, load_params
from modit.training.checkpoint import save_model
from tests.unit.evaluate.conftest import build_context, build_generator, build_stage
from tests.unit.hppo.test_readout import validator_of

ROOT = Path(__file__).resolve().parents[3]
PARAMS = SecondStageParams()
FILES = (SECOND_STAGE_FILE, LOG_ODDS_FILE, PATTERNS_FILE)


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return build_context()


def with_verdicts(context: EvaluationContext, positive: np.ndarray) -> EvaluationContext:
    catalog = replace(context.catalog, verdicts={"rare": positive.astype(np.int8)})
    return replace(context, catalog=catalog)


def run_step(root: Path, context: EvaluationContext, **params: Any) -> Path:
    """Runs the step on artifacts as the steps before write them; gives the folder of what it wrote."""
    for name in STEP.inputs:
        (root / name).mkdir(parents=True)
    context.catalog.save(root / "catalog")
    context.patterns.save(root / "patterns" / "rare.npz")
    context.geometry.save(root / "predictor" / "geometry.npz")
    context.index.save(root / "index")
    for split, cases in context.cases.items():
        cases.save(root / "cases" / f"{split}.npz")
    save_model(root / MODEL / "model.pt", build_generator(context, 1).sampler.model)
    rounds = {"rounds": [{"kept": True, "joint": 0.3, "guidance": 2.0}], "stopped": True}
    (root / MODEL / "rounds.json").write_text(json.dumps(rounds))
    readout = readout_json(0.0, [Move("mean", "density", 0.3)], [1.0])
    (root / "readout" / "readout.json").write_text(json.dumps(readout))
    (root / "second_stage").mkdir()
    step = SimpleNamespace(
        domain="rare",
        seed=0,
        params=Params.model_validate({"sampler": {"steps": 2, "samples": 2}, "fit_second_stage": params}),
        input=root.joinpath,
        output=root.joinpath,
        logger=logging.getLogger("test"),
    )
    fit_second_stage(step)
    return root / "second_stage"


@pytest.fixture(scope="module")
def folder(context: EvaluationContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_step(tmp_path_factory.mktemp("run"), context)


def test_the_step_writes_an_array_of_all_items_and_how_it_was_chosen(folder: Path, context: EvaluationContext) -> None:
    content = json.loads((folder / SECOND_STAGE_FILE).read_text())
    stage = SecondStage.load(folder, *context.catalog.embeddings.shape)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert set(content["log_loss"]) == {*KINDS, MEAN}
    assert content["log_loss"][content["kind"]] == min(content["log_loss"].values())
    assert content["calibration"]["method"] == "platt"
    test = context.allowed(Split.ITEM_HOLDOUT)
    positive = stage.log_odds[test & context.positive].mean()
    assert positive > stage.log_odds[test & ~context.positive].mean() + 1


def test_a_rerank_that_helps_on_validation_is_served(folder: Path) -> None:
    content = json.loads((folder / SECOND_STAGE_FILE).read_text())
    reached = content["validation"]
    assert content["enabled"] and (content["depth"], content["weight"]) == (PARAMS.depth, PARAMS.weight)
    assert reached["reranked"]["mean"] > reached["none"]["mean"] + 0.05
    assert set(reached["none"]) == set(reached["reranked"]) == {*map(str, VALIDATIONS), "mean"}


def test_the_same_inputs_give_the_same_bytes(folder: Path, context: EvaluationContext, tmp_path: Path) -> None:
    again = run_step(tmp_path / "run", context)
    for name in FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_turning_the_verdicts_of_test_items_around_changes_nothing(
    folder: Path, context: EvaluationContext, tmp_path: Path
) -> None:
    hidden = ~context.patterns.visible_for_validation
    other = run_step(tmp_path / "run", with_verdicts(context, context.positive ^ hidden))
    for name in FILES:
        assert (other / name).read_bytes() == (folder / name).read_bytes()
    one = np.flatnonzero(context.patterns.trainable)[:50]
    trained = context.positive.copy()
    trained[one] ^= True
    changed = run_step(tmp_path / "changed", with_verdicts(context, trained))
    assert (changed / LOG_ODDS_FILE).read_bytes() != (folder / LOG_ODDS_FILE).read_bytes()


def test_whether_requests_are_reranked_can_be_set(context: EvaluationContext, tmp_path: Path) -> None:
    quick = {"kinds": ["logistic"], "depth": 3, "weight": 0.05}
    for default in ("on", "off"):
        folder = run_step(tmp_path / default, context, default=default, **quick)
        assert SecondStage.load(folder, *context.catalog.embeddings.shape).enabled is (default == "on")


def test_one_kind_of_validation_is_enough_and_none_is_refused(context: EvaluationContext) -> None:
    validator, stage, kind = validator_of(context), build_stage(context), Split.ITEM_VALIDATION
    one = try_rerank({kind: average(context, kind)}, validator, stage)
    assert set(one.none) == {"item_validation", "mean"}
    with pytest.raises(ValueError, match="neither kind of validation has a case"):
        try_rerank({}, validator, stage)


def test_the_error_of_a_kind_with_one_pattern_is_not_known(context: EvaluationContext) -> None:
    validator, stage, kind = validator_of(context), build_stage(context), Split.ITEM_VALIDATION
    seeds, patterns = validator.cases[kind]
    of_one = patterns == patterns[0]
    alone = replace(validator, cases=validator.cases | {kind: (seeds[of_one], patterns[of_one])})
    several, single = (
        try_rerank({kind: queries}, own, stage)
        for queries, own in ((average(context, kind), validator), (average(context, kind)[of_one], alone))
    )
    assert 0 < several.error < 1 and several.as_json()["error"] == round(several.error, 6)
    assert np.isinf(single.error) and single.as_json()["error"] is None


@pytest.mark.parametrize(
    ("gain", "error", "hurts"),
    [(0.05, 0.01, False), (0.0, 0.0, False), (-0.05, 0.06, False), (-0.05, 0.04, True), (-0.5, np.inf, False)],
)
def test_only_lists_that_are_worse_by_more_than_one_standard_error_switch_it_off(gain, error, hurts) -> None:
    assert RerankTrial({"mean": 0.5}, {"mean": 0.5 + gain}, error).hurts is hurts


def test_the_trial_measures_what_the_served_retriever_answers(context: EvaluationContext) -> None:
    """Lists of the trial and of `RerankRetriever` are the same: one way to reorder."""
    validator, task, stage = validator_of(context), SeedsTask(context), build_stage(context)
    trial = try_rerank({split: average(context, split) for split in VALIDATIONS}, validator, stage)
    first = average_row(context).retriever
    values = GoodnessValues(stage.log_odds.__getitem__, stage.pattern_of(context.catalog.embeddings))
    for split in VALIDATIONS:
        cases = task.cases(split)
        for setting, expected in (((stage.depth, stage.weight), trial.reranked), ((1, 0.0), trial.none)):
            retriever = RerankRetriever(first, values, *setting)
            joint = task.decide(cases, retriever.retrieve(cases.requests)).mean()
            assert joint == pytest.approx(expected[str(split)])


def test_a_weight_of_zero_or_a_second_stage_that_is_off_leaves_every_list_as_it_is(context: EvaluationContext) -> None:
    cases, first = SeedsTask(context).cases(Split.ITEM_HOLDOUT), average_row(context)
    expected = first.retriever.retrieve(cases.requests)
    off, nothing = build_stage(context, enabled=False), build_stage(context, weight=0.0)
    for stage in (off, nothing):
        found = served_row(first, stage, context).retriever.retrieve(cases.requests)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine.rows, other.rows)
            np.testing.assert_array_equal(mine.scores, other.scores)
    on = served_row(first, build_stage(context), context).retriever.retrieve(cases.requests)
    assert any((mine.rows != other.rows).any() for mine, other in zip(on, expected, strict=True))


def test_a_known_verdict_takes_the_place_of_what_the_model_says(context: EvaluationContext) -> None:
    stage = replace(build_stage(context), log_odds=np.array([0.5, 0.5, -0.5, -0.5], np.float32))
    known, positive = np.array([True, True, False, False]), np.array([False, True, True, False])
    np.testing.assert_array_equal(stage.with_verdicts(known, positive), np.float32([-CLIP, CLIP, -0.5, -0.5]))


def test_a_known_negative_falls_below_an_item_that_nobody_scored(context: EvaluationContext) -> None:
    known, cases = context.known_verdicts, SeedsTask(context).cases(Split.ITEM_HOLDOUT)
    request = replace(cases.requests[0], allowed=None)
    row = served_row(average_row(context), build_stage(context, depth=25, weight=0.2), context)
    (found,) = row.retriever.retrieve([request])
    (first,) = average_row(context).retriever.retrieve([request])
    assert known.negatives[first.rows].any() and not known.negatives[found.rows].any()


def test_shuffled_verdicts_give_the_served_second_stage_no_gain(context: EvaluationContext) -> None:
    """What it learns of verdicts that mean nothing must not help on test items, on average over permutations.

    The patterns alone help: so the gain is that over a second stage whose attribute model says nothing.
    """
    generator, gains = np.random.default_rng(5), []
    for _ in range(6):
        other = with_verdicts(context, generator.permutation(context.positive))
        validation = other.allowed(Split.ITEM_VALIDATION)
        odds = fit_attribute_odds(other.known_verdicts, validation, PARAMS.kinds, PARAMS.fewest_of_a_kind, 0)
        stage = replace(build_stage(other, PARAMS.depth, PARAMS.weight), log_odds=odds.log_odds)
        task = SeedsTask(other)
        for split in (Split.ITEM_HOLDOUT, Split.PATTERN_HOLDOUT):
            cases, row = task.cases(split), average_row(other)
            silent = replace(stage, log_odds=np.zeros_like(stage.log_odds))
            both = [served_row(row, each, other).retriever.retrieve(cases.requests) for each in (stage, silent)]
            told, untold = (task.decide(cases, found).mean() for found in both)
            gains.append(told - untold)
    assert np.mean(gains) < 0.02


def test_validation_with_too_few_of_a_kind_takes_the_last_kind_uncalibrated(context: EvaluationContext) -> None:
    validation = context.allowed(Split.ITEM_VALIDATION)
    few = validation & (~context.positive | (np.cumsum(validation & context.positive) <= 5))
    odds = fit_attribute_odds(context.known_verdicts, few, ("logistic", "neighbours"), 20, 0)
    assert (odds.kind, odds.calibration.method) == ("neighbours", "none")
    assert (odds.calibration.positives, set(odds.log_loss)) == (5, {"logistic", "neighbours"})
    with pytest.raises(ValueError, match="are among the known ones"):
        fit_attribute_odds(context.known_verdicts, context.scored, ("logistic",), 20, 0)


def damaged(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / SECOND_STAGE_FILE).read_text())
    (folder / SECOND_STAGE_FILE).write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 9}, "schema_version is 9"),
        ({"log_odds_digest": "0" * 64}, "its sha256 is"),
        ({"depth": 0}, "depth is 0; allowed: an integer of 1 or more"),
        ({"depth": True}, "depth is True"),
        ({"weight": -1}, "weight is -1; allowed: 0 or more"),
        ({"weight": "much"}, "weight is 'much'"),
        ({"enabled": 1}, "enabled is 1; allowed: true, false"),
        ({"patterns_digest": "0" * 64}, r"patterns\.npz: its sha256 is"),
        ({"sharpness": 0}, "sharpness is 0; allowed: more than 0"),
    ],
)
def test_a_damaged_artifact_is_refused_by_field(
    context: EvaluationContext, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    build_stage(context).save(tmp_path)
    SecondStage.load(tmp_path, *context.catalog.embeddings.shape)
    damaged(tmp_path, **changes)
    with pytest.raises(ArtifactError, match=message):
        SecondStage.load(tmp_path, *context.catalog.embeddings.shape)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(context: EvaluationContext, tmp_path: Path, name: str) -> None:
    build_stage(context).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        SecondStage.load(tmp_path, *context.catalog.embeddings.shape)


def test_an_artifact_of_before_patterns_is_refused_by_its_version(context: EvaluationContext, tmp_path: Path) -> None:
    build_stage(context).save(tmp_path)
    content = json.loads((tmp_path / SECOND_STAGE_FILE).read_text())
    old = {name: value for name, value in content.items() if name not in ("patterns_digest", "sharpness")}
    (tmp_path / SECOND_STAGE_FILE).write_text(json.dumps(old | {"schema_version": 1}))
    with pytest.raises(ArtifactError, match="schema_version is 1; this version of modit reads 3"):
        SecondStage.load(tmp_path, *context.catalog.embeddings.shape)


def test_an_array_of_another_catalogue_or_of_python_objects_is_refused(
    context: EvaluationContext, tmp_path: Path
) -> None:
    build_stage(context).save(tmp_path)
    with pytest.raises(ArtifactError, match=r"allowed: float32 \[7\] in \[-6, 6\]"):
        SecondStage.load(tmp_path, 7, 12)
    np.save(tmp_path / LOG_ODDS_FILE, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="is damaged"):
        SecondStage.load(tmp_path, 1, 12)


@pytest.mark.parametrize("section", [{"kinds": []}, {"kinds": ["svm"]}, {"depth": 0}, {"weight": 0}, {"sharpness": 0}])
def test_a_grid_that_makes_no_sense_is_refused_with_section_and_field(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"section fit_second_stage, field {next(iter(section))}"):
        load_params(ROOT / "params.yaml", "small", {"fit_second_stage": section})


def average_row(context: EvaluationContext) -> Row[Query]:
    row = next(row for row in closed_form_rows(context) if row.name == names.AVERAGE)
    return Row(row.name, row.kind, row.build(row.grid[0]))


def average(context: EvaluationContext, split: Split) -> np.ndarray:
    results = average_row(context).retriever.retrieve(SeedsTask(context).cases(split).requests)
    return np.stack([result.query for result in results])
