"""Slices cover what they say, and the champion is a row like the others."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from modit.data.splits import HOLDOUTS, Split
from modit.evaluate.names import CHAMPION
from modit.evaluate.report import RunFacts, build_report, render_page
from modit.evaluate.report.page import judged_against
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator
from modit.evaluate.seeds.slices import FEW, HEAD, NEW, NO_CHAMPION, SLICES, TAIL, case_masks
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.storage import Evaluation, rounded
from modit.evaluate.task import BaselineModel, Row
from modit.export.parity import TorchSampler
from modit.inference.retrieval import Query, SamplerRetriever, even_selection
from modit.metric.cases import Cases
from tests.unit.evaluate.conftest import evaluate
from tests.unit.evaluate.test_report import RECORDS
from tests.unit.samplers import describe

FACTS = {"status": "ready", "reason": None, "model": "modit-rare", "version": 4, "model_digest": "d" * 64}


def champion_of(row: Row[Query], context: EvaluationContext, maximum_seeds: int = 8) -> BaselineModel[Query]:
    """A champion with the weights of a row; one item of the catalogue is newer than it."""
    generator = row.retriever
    assert isinstance(generator, Generator)
    info = describe(dimension=context.catalog.dimension, guidance=generator.guidance, maximum_seeds=maximum_seeds)
    new_items = np.zeros(len(context.catalog), bool)
    new_items[context.cases["item_holdout"].seeds[0, 0]] = True
    return BaselineModel(SamplerRetriever(TorchSampler(generator.sampler, info), context.index, True), new_items)


@pytest.fixture(scope="module")
def evaluation(context: EvaluationContext, models: list[Row[Query]]) -> Evaluation:
    """The champion has the weights of the row CPT only."""
    return evaluate(context, models, champion_of(models[1], context), resamples=100, seed_count_cases=10)


def test_the_same_weights_as_champion_have_the_same_figures(evaluation: Evaluation) -> None:
    for split in HOLDOUTS:
        for figure in ("joint", "same"):
            mine, its = (evaluation.per_case[f"{split}/{name}/{figure}"] for name in ("CPT only", CHAMPION))
            np.testing.assert_array_equal(mine, its)


def test_a_candidate_that_is_the_champion_has_no_gain_in_any_split_or_slice(
    context: EvaluationContext, models: list[Row[Query]]
) -> None:
    content = evaluate(context, models, champion_of(models[3], context), resamples=100, seed_count_cases=10).content
    for result in content["splits"].values():
        compared = {entry["name"]: entry for entry in result["comparisons"]}["HPPO + rerank - Champion"]
        differences = [compared, *(entry["difference"] for entry in result["slices"] if entry["cases"])]
        for each in differences:
            for name in ("joint", "same"):
                bounds = {value for field, value in each[name].items() if field != "patterns"}
                assert bounds <= {0.0, None} and 0.0 in bounds


def test_the_champion_is_a_row_of_its_own_kind_and_is_compared(evaluation: Evaluation) -> None:
    for result in evaluation.content["splits"].values():
        assert [row["kind"] for row in result["rows"] if row["name"] == CHAMPION] == ["champion"]
        assert "HPPO + rerank - Champion" in {entry["name"] for entry in result["comparisons"]}
        assert result["slices_against"] == CHAMPION


def test_head_and_tail_have_all_cases_and_new_items_those_that_hold_one(
    evaluation: Evaluation, context: EvaluationContext
) -> None:
    for split, result in evaluation.content["splits"].items():
        slices = {entry["name"]: entry for entry in result["slices"]}
        assert list(slices) == list(SLICES)
        assert slices[HEAD]["cases"] + slices[TAIL]["cases"] == result["cases"]
        assert slices[FEW]["cases"] == 10
        new_items = {int(context.cases["item_holdout"].seeds[0, 0])}
        cases = context.cases[split]
        rows = np.concatenate([cases.seeds, cases.tails], 1)
        expected = sum(bool(set(row[row >= 0]) & new_items) for row in rows)
        assert slices[NEW]["cases"] == expected and (expected or slices[NEW]["reason"] == "no case belongs to it")


def test_head_patterns_have_at_least_the_median_of_positives() -> None:
    cases = Cases(np.zeros((4, 1), np.int32), np.zeros((4, 1), np.int32), np.array([0, 1, 2, 2], np.int32))
    labels = np.array([0] * 5 + [1] * 3 + [2] * 9 + [3] * 50)
    masks = case_masks(cases, labels, np.ones(len(labels), bool), None)
    assert masks[HEAD].tolist() == [True, False, True, True] and NEW not in masks


def test_without_a_champion_slices_are_compared_with_average_pooling_and_say_what_is_missing(
    context: EvaluationContext, models: list[Row[Query]]
) -> None:
    content = evaluate(context, models, resamples=100).content
    for result in content["splits"].values():
        assert result["slices_against"] == "Average pooling"
        assert next(entry for entry in result["slices"] if entry["name"] == NEW)["reason"] == NO_CHAMPION


def test_a_champion_that_takes_fewer_seeds_gets_an_even_selection(
    context: EvaluationContext, models: list[Row[Query]], task: SeedsTask
) -> None:
    assert even_selection(np.array([4, 5, 6, 7, 8]), 3).tolist() == [4, 6, 8]
    assert even_selection(np.array([1, 2]), 3).tolist() == [1, 2]
    requests = task.cases(Split.ITEM_HOLDOUT).requests
    assert max(len(request.seeds) for request in requests) > 3
    found = champion_of(models[1], context, 3).retriever.retrieve(requests)
    fewer = [replace(request, seeds=even_selection(request.seeds, 3)) for request in requests]
    for one, other in zip(found, models[1].retriever.retrieve(fewer), strict=True):
        np.testing.assert_allclose(one.query, other.query, atol=1e-6)


def test_the_page_says_what_the_gate_compares(evaluation: Evaluation) -> None:
    report = rounded(
        build_report({"rare": evaluation.content | RECORDS | {"champion": FACTS}}, RunFacts("books", "tiny", 7, {}))
    )
    page = render_page(report)
    assert "What the gate compares" in page and "The champion is modit-rare/4." in page
    assert page.count("HPPO + rerank − Champion, percentage points") == 2
    assert "cases of the patterns with at least as many positives" in page


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (None, "was not asked"),
        (FACTS | {"status": "none"}, "no champion yet"),
        (
            FACTS | {"status": "other_space", "reason": "it takes 64 numbers"},
            "cannot be judged .*: it takes 64 numbers",
        ),
    ],
)
def test_every_state_of_a_champion_has_words(champion: dict | None, words: str) -> None:

    assert re.search(words, judged_against(champion))
