"""Slices cover what they say, and the champion is a row like the others."""

from __future__ import annotations

import re

import numpy as np
import pytest

from modit.data.splits import HOLDOUTS
from modit.evaluate.evaluation import Evaluation, EvaluationSettings, evaluate_domain
from modit.evaluate.generators import Generator, model_queries
from modit.evaluate.report import RunFacts, build_report, render_page
from modit.evaluate.report.page import judged_against
from modit.evaluate.rival import CHAMPION, Rival, even_selection
from modit.evaluate.slices import FEW, HEAD, NEW, NO_CHAMPION, SLICES, TAIL, case_masks
from modit.evaluate.storage import rounded
from modit.evaluate.world import World
from modit.export.parity import TorchSampler
from modit.metric.cases import Cases
from tests.unit.evaluate.test_report import RECORDS
from tests.unit.samplers import describe

SETTINGS = EvaluationSettings(seed=3, resamples=100, seed_count_cases=10)
FACTS = {"status": "ready", "reason": None, "model": "modit-rare", "version": 4, "sampler_digest": "d" * 64}


def rival_of(generator: Generator, world: World, maximum_seeds: int = 8) -> Rival:
    """A champion with the weights of a row; one item of the catalogue is newer than it."""
    info = describe(dimension=world.catalog.dimension, guidance=generator.guidance, maximum_seeds=maximum_seeds)
    new_items = np.zeros(len(world.catalog), bool)
    new_items[world.cases["item_holdout"].seeds[0, 0]] = True
    return Rival(TorchSampler(generator.sampler, info), maximum_seeds, new_items)


@pytest.fixture(scope="module")
def evaluation(world: World, generators: list[Generator]) -> Evaluation:
    """The champion has the weights of the row CPT only."""
    return evaluate_domain(world, generators, SETTINGS, rival_of(generators[1], world))


def test_the_same_weights_as_champion_have_the_same_figures(evaluation: Evaluation) -> None:
    for split in HOLDOUTS:
        for figure in ("joint", "same"):
            mine, its = (evaluation.per_case[f"{split}/{name}/{figure}"] for name in ("CPT only", CHAMPION))
            np.testing.assert_array_equal(mine, its)


def test_a_candidate_that_is_the_champion_has_no_gain_in_any_split_or_slice(
    world: World, generators: list[Generator]
) -> None:
    content = evaluate_domain(world, generators, SETTINGS, rival_of(generators[3], world)).content
    for result in content["splits"].values():
        compared = {entry["name"]: entry for entry in result["comparisons"]}["HPPO - Champion"]
        differences = [compared, *(entry["difference"] for entry in result["slices"] if entry["cases"])]
        for each in differences:
            for name in ("joint", "same"):
                bounds = {value for field, value in each[name].items() if field != "patterns"}
                assert bounds <= {0.0, None} and 0.0 in bounds


def test_the_champion_is_a_row_of_its_own_kind_and_is_compared(evaluation: Evaluation) -> None:
    for result in evaluation.content["splits"].values():
        assert [row["kind"] for row in result["rows"] if row["name"] == CHAMPION] == ["champion"]
        assert "HPPO - Champion" in {entry["name"] for entry in result["comparisons"]}
        assert result["slices_against"] == CHAMPION


def test_head_and_tail_have_all_cases_and_new_items_those_that_hold_one(evaluation: Evaluation, world: World) -> None:
    for split, result in evaluation.content["splits"].items():
        slices = {entry["name"]: entry for entry in result["slices"]}
        assert list(slices) == list(SLICES)
        assert slices[HEAD]["cases"] + slices[TAIL]["cases"] == result["cases"]
        assert slices[FEW]["cases"] == 10
        new_items = rival_of_new_items(world)
        cases = world.cases[split]
        rows = np.concatenate([cases.seeds, cases.tails], 1)
        expected = sum(bool(set(row[row >= 0]) & new_items) for row in rows)
        assert slices[NEW]["cases"] == expected and (expected or slices[NEW]["reason"] == "no case belongs to it")


def rival_of_new_items(world: World) -> set[int]:
    return {int(world.cases["item_holdout"].seeds[0, 0])}


def test_head_patterns_have_at_least_the_median_of_positives() -> None:
    cases = Cases(np.zeros((4, 1), np.int32), np.zeros((4, 1), np.int32), np.array([0, 1, 2, 2], np.int32))
    labels = np.array([0] * 5 + [1] * 3 + [2] * 9 + [3] * 50)
    masks = case_masks(cases, labels, np.ones(len(labels), bool), None)
    assert masks[HEAD].tolist() == [True, False, True, True] and NEW not in masks


def test_without_a_champion_slices_are_compared_with_average_pooling_and_say_what_is_missing(
    world: World, generators: list[Generator]
) -> None:
    content = evaluate_domain(world, generators, SETTINGS).content
    for result in content["splits"].values():
        assert result["slices_against"] == "Average pooling"
        assert next(entry for entry in result["slices"] if entry["name"] == NEW)["reason"] == NO_CHAMPION


def test_a_champion_that_takes_fewer_seeds_gets_an_even_selection(world: World, generators: list[Generator]) -> None:
    seeds = np.array([[4, 5, 6, 7, 8], [1, 2, -1, -1, -1]], np.int32)
    assert even_selection(seeds, 3).tolist() == [[4, 6, 8], [1, 2, -1]]
    assert even_selection(seeds, 5) is not None and even_selection(seeds, 9).tolist() == seeds.tolist()
    cases = world.cases["item_holdout"]
    found = rival_of(generators[1], world, 3).queries(world.catalog.embeddings, cases.seeds, 5)
    expected = model_queries(generators[1], world.catalog.embeddings, even_selection(cases.seeds, 3), 5)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_page_says_what_the_gate_compares(evaluation: Evaluation) -> None:
    report = rounded(
        build_report({"rare": evaluation.content | RECORDS | {"champion": FACTS}}, RunFacts("books", "tiny", 7, {}))
    )
    page = render_page(report)
    assert "What the gate compares" in page and "The champion is modit-rare/4." in page
    assert page.count("HPPO − Champion, percentage points") == 2
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
