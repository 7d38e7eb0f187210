"""The evaluation of a domain, end to end on a small world with untrained models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modit.core.errors import ArtifactError, ConfigError
from modit.data.splits import HOLDOUTS, Split
from modit.evaluate import names
from modit.evaluate.bootstrap import MINIMUM_PATTERNS
from modit.evaluate.names import AVERAGE
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator, fan_queries
from modit.evaluate.seeds.rows import RERANKED, choose_guidance, model_row
from modit.evaluate.seeds.task import BEST_ORACLE, CENTROID_ORACLE, SeedsTask, result_rows
from modit.evaluate.storage import Evaluation, load_evaluation, save_evaluation
from modit.evaluate.task import CaseSet, Row
from modit.inference.retrieval import Query, search_together
from modit.training.checkpoint import save_model
from modit.training.params import SamplerParams
from tests.unit.evaluate.conftest import MODELS, evaluate

CLASSICAL = [
    AVERAGE,
    "Global attribute centroid",
    "Rocchio",
    "Density step",
    "Best-scored seeds",
    names.FIXED_MOVE,
    names.LOCAL_FEEDBACK,
]
TWO_STAGE = [names.reranked(name) for name in RERANKED]


@pytest.fixture(scope="module")
def evaluation(context: EvaluationContext, models: list[Row[Query]]) -> Evaluation:
    return evaluate(context, models)


def rows_of(evaluation: Evaluation, split: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in evaluation.content["splits"][split]["rows"]}


@pytest.mark.parametrize("split", HOLDOUTS)
def test_every_row_is_judged_on_both_splits(evaluation: Evaluation, split: str) -> None:
    assert list(rows_of(evaluation, split)) == [
        *(*CLASSICAL, *TWO_STAGE, *MODELS, names.reranked("HPPO")),
        *(names.FILTER, CENTROID_ORACLE, BEST_ORACLE),
    ]


@pytest.mark.parametrize("split", HOLDOUTS)
def test_intervals_hold_their_mean(evaluation: Evaluation, split: str) -> None:
    for row in rows_of(evaluation, split).values():
        for figure in ("joint", "same"):
            interval = row[f"{figure}_interval"]
            assert interval["case_low"] <= row[figure] == interval["mean"] <= interval["case_high"]
            if interval["patterns"] >= MINIMUM_PATTERNS:
                assert interval["pattern_low"] <= row[figure] <= interval["pattern_high"]
            else:
                assert interval["pattern_low"] is interval["pattern_high"] is None


@pytest.mark.parametrize("split", HOLDOUTS)
def test_comparisons_are_differences_of_the_rows(evaluation: Evaluation, split: str) -> None:
    rows = rows_of(evaluation, split)
    comparisons = {entry["name"]: entry for entry in evaluation.content["splits"][split]["comparisons"]}
    named = {"HPPO - MO-DiT", "MO-DiT - Pre. GR", "HPPO - best classical", "HPPO - HPPO adaptive"}
    named |= {"HPPO + rerank - best two-stage"}
    assert named | {f"HPPO - {name}" for name in [*CLASSICAL, *TWO_STAGE]} <= set(comparisons)
    for entry in comparisons.values():
        for figure in ("joint", "same"):
            difference = rows[entry["row"]][figure] - rows[entry["against"]][figure]
            assert entry[figure]["mean"] == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize("split", HOLDOUTS)
def test_the_headline_classical_row_is_the_best_on_test(evaluation: Evaluation, split: str) -> None:
    rows, content = rows_of(evaluation, split), evaluation.content["splits"][split]
    assert rows[content["best_classical"]["test"]]["joint"] == max(rows[name]["joint"] for name in CLASSICAL)
    best = max(CLASSICAL, key=lambda name: rows[name]["tuned"]["validation_joint"])
    assert content["best_classical"]["validation"] == best
    assert rows[content["best_classical"]["two_stage"]]["joint"] == max(rows[name]["joint"] for name in TWO_STAGE)


@pytest.mark.parametrize("split", HOLDOUTS)
def test_the_best_of_eight_is_never_below_a_candidate_that_it_holds(evaluation: Evaluation, split: str) -> None:
    best = evaluation.per_case[f"{split}/{BEST_ORACLE}/joint"]
    # Depth 1 of the tail and guidance 2 of HPPO are among the candidates.
    assert (best >= evaluation.per_case[f"{split}/{CENTROID_ORACLE}/joint"]).all()
    assert (best >= evaluation.per_case[f"{split}/HPPO/joint"]).all()


@pytest.mark.parametrize("split", HOLDOUTS)
def test_means_over_the_saved_cases_are_the_table(evaluation: Evaluation, split: str) -> None:
    for name, row in rows_of(evaluation, split).items():
        assert evaluation.per_case[f"{split}/{name}/joint"].mean() == pytest.approx(row["joint"])
        assert evaluation.per_case[f"{split}/{name}/same"].mean() == pytest.approx(row["same"])


@pytest.mark.parametrize("split", HOLDOUTS)
def test_the_order_in_which_seeds_are_given_changes_nothing(evaluation: Evaluation, split: str) -> None:
    curve = evaluation.content["splits"][split]["seed_counts"]
    assert [point["count"] for point in curve] == [1, 3, 5, 8]
    for point in curve:
        assert point["order_difference"] == 0
        assert point["hppo_sorted"] == point["hppo_shuffled"]


@pytest.mark.parametrize("split", HOLDOUTS)
def test_all_seeds_give_the_figures_of_the_table(evaluation: Evaluation, split: str) -> None:
    last = evaluation.content["splits"][split]["seed_counts"][-1]
    rows = rows_of(evaluation, split)
    assert last["hppo_shuffled"]["mean"] == pytest.approx(rows["HPPO"]["joint"])
    assert last["average"]["mean"] == pytest.approx(rows[AVERAGE]["joint"], abs=0.02)


def test_seeds_are_never_counted_as_results(context: EvaluationContext, task: SeedsTask) -> None:
    cases = task.cases(Split.ITEM_HOLDOUT)
    seeds = cases.truth.seeds
    # A query at a seed would find that seed first.
    queries = np.asarray(context.catalog.embeddings[seeds[:, 0]])
    found = result_rows(cases, search_together(context.index, queries, cases.requests))
    assert not (found[:, :, None] == seeds[:, None, :]).any()
    counted = CaseSet([replace(request, exclude=np.empty(0, int)) for request in cases.requests], seeds, None)
    found = result_rows(counted, search_together(context.index, queries, counted.requests))
    assert (found[:, 0] == seeds[:, 0]).all()


def test_joint_is_bounded_by_attr_and_same_and_factors_through_cond(
    context: EvaluationContext, task: SeedsTask
) -> None:
    cases = task.cases(Split.PATTERN_HOLDOUT)
    scores = task.judge_queries(cases, np.asarray(context.catalog.embeddings[cases.truth.tails[:, 0]]))
    assert (scores["joint"] <= np.minimum(scores["attr"], scores["same"])).all()
    known = scores["attr"] > 0
    np.testing.assert_allclose(scores["joint"][known], scores["attr"][known] * scores["cond"][known])
    assert np.isnan(scores["cond"][~known]).all()


def test_items_that_are_not_scored_are_no_results_and_k_keeps_the_same_share(
    context: EvaluationContext, models: list[Row[Query]]
) -> None:
    generator = np.random.default_rng(0)
    verdicts = context.catalog.verdicts["rare"].copy()
    rows = np.concatenate([part for cases in context.cases.values() for part in (cases.seeds, cases.tails)], axis=None)
    free = np.setdiff1d(np.arange(len(verdicts)), rows)
    hidden = generator.choice(free, len(free) // 2, replace=False)
    verdicts[hidden] = -1
    partly = replace(context, catalog=replace(context.catalog, verdicts={"rare": verdicts}))
    for split in Split:
        allowed = partly.allowed(split)
        assert not (allowed & (verdicts < 0)).any()
        assert partly.depth(split) == max(5, round(20 * allowed.mean()))
    task = SeedsTask(partly)
    for split in Split:
        cases = task.cases(split)
        results = models[3].retriever.retrieve(cases.requests)
        for seeds, request, result in zip(cases.truth.seeds, cases.requests, results, strict=True):
            scores = context.catalog.embeddings @ result.query
            scores[~partly.allowed(split)], scores[seeds[seeds >= 0]] = -1, -1
            assert set(result.rows) == set(np.argsort(-scores, kind="stable")[: request.k])
    content = evaluate(partly, models, resamples=50).content
    assert content["k"] == partly.depth(Split.ITEM_HOLDOUT) and content["catalog"]["scored"] == (verdicts >= 0).sum()


def test_examples_show_what_was_retrieved_and_escape_nothing(evaluation: Evaluation) -> None:
    examples = evaluation.content["splits"]["pattern_holdout"]["examples"]
    assert {example["pattern"] for example in examples} == {0, 1}
    for example in examples:
        assert set(example["lists"]) == {AVERAGE, "HPPO"}
        assert all(len(entries) == evaluation.content["k"] for entries in example["lists"].values())
        shares = np.mean([entry["attribute"] and entry["pattern"] for entry in example["lists"]["HPPO"]])
        assert example["joint"]["HPPO"] == pytest.approx(shares)


def test_examples_hold_the_lists_and_figures_that_were_judged(evaluation: Evaluation) -> None:
    found = evaluation.content["splits"]["pattern_holdout"]
    worked = found["worked_examples"]
    rows = {"average": "Average pooling", "simple": worked["simple_row"]["name"], "served": "HPPO + rerank"}
    validation = {row["name"]: row["tuned"]["validation_joint"] for row in found["rows"] if row["tuned"]}
    rivals = [f"{name}{rerank}" for name in ("Fixed move", "Local feedback") for rerank in ("", " + rerank")]
    assert validation[rows["simple"]] == max(validation[name] for name in rivals)
    assert worked["patterns"] == found["patterns"] and worked["examples"]
    for example in worked["examples"]:
        for key, row in rows.items():
            assert example["joint"][key] in evaluation.per_case[f"pattern_holdout/{row}/joint"]
            assert not set(example["lists"][key]) & set(example["seeds"])
            assert len(example["lists"][key]) <= worked["k"]


def test_ids_stand_in_where_there_are_no_titles(context: EvaluationContext, models: list[Row[Query]]) -> None:
    untitled = replace(context, catalog=replace(context.catalog, titles=None))
    example = evaluate(untitled, models).content["splits"]["item_holdout"]["examples"][0]
    assert all(entry["title"].startswith("item-") for entry in example["seeds"])


def test_a_split_without_cases_is_skipped_with_its_reason(context: EvaluationContext, models: list[Row[Query]]) -> None:
    cases = context.cases["pattern_validation"]
    none = replace(cases, seeds=cases.seeds[:0], tails=cases.tails[:0], patterns=cases.patterns[:0])
    bare = replace(context, cases={**context.cases, "pattern_validation": none})
    content = evaluate(bare, models).content["splits"]
    assert content["pattern_holdout"] == {
        "cases": 0,
        "reason": "no pattern_validation case: each of its 2 patterns has too few items for a case",
    }
    assert content["item_holdout"]["cases"] == 24


def test_a_missing_stage_is_refused(context: EvaluationContext, models: list[Row[Query]]) -> None:
    with pytest.raises(ConfigError, match=r"each name once, Pre. GR, CPT only, MO-DiT, HPPO among them"):
        evaluate(context, models[:3])


def test_the_same_evaluation_gives_the_same_bytes(
    context: EvaluationContext, models: list[Row[Query]], evaluation: Evaluation, tmp_path: Path
) -> None:
    for name, value in {"a": evaluation, "b": evaluate(context, models)}.items():
        (tmp_path / name).mkdir()
        save_evaluation(tmp_path / name, value, {"rounds": []})
    for file in ("evaluation.json", "per_case.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert load_evaluation(tmp_path / "a")["domain"] == "rare"


def test_an_evaluation_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"schema_version": 0}))
    with pytest.raises(ArtifactError, match="schema_version is 0; this version of modit reads 4"):
        load_evaluation(tmp_path)


def generator_of(row: Row[Query]) -> Generator:
    assert isinstance(row.retriever, Generator)
    return row.retriever


def test_guidance_is_the_scale_that_validation_prefers(task: SeedsTask, models: list[Row[Query]]) -> None:
    scales, sampler = (1.0, 2.0, 4.0), generator_of(models[3]).sampler
    totals = []
    for scale in scales:
        joints = []
        for split in (Split.ITEM_VALIDATION, Split.PATTERN_VALIDATION):
            cases = task.cases(split)
            queries = fan_queries(sampler, cases.requests, [scale])[:, 0]
            joints.append(task.judge_queries(cases, queries)["joint"].mean())
        totals.append(sum(joints))
    assert choose_guidance(task, sampler, scales) == scales[int(np.argmax(totals))]


def test_a_saved_model_makes_the_row_that_was_saved(task: SeedsTask, models: list[Row[Query]], tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", generator_of(models[3]).sampler.model)
    loaded = model_row("HPPO", tmp_path / "model.pt", task, SamplerParams(steps=2, samples=2, guidance=(2.0,)))
    requests = task.cases(Split.ITEM_HOLDOUT).requests
    found, expected = (row.retriever.retrieve(requests) for row in (loaded, models[3]))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.query, other.query)


def test_a_model_from_before_any_domain_is_judged_without_its_axes(
    task: SeedsTask, models: list[Row[Query]], tmp_path: Path
) -> None:
    save_model(tmp_path / "model.pt", generator_of(models[3]).sampler.model)
    params = SamplerParams(steps=2, samples=2, guidance=(2.0,))
    row = model_row("Pre. GR", tmp_path / "model.pt", task, params, knows_domain=False)
    assert not any(part.any() for part in generator_of(row).sampler.geometry)
