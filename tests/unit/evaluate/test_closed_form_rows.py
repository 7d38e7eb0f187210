"""The classical rows on data made by hand, and the choice of their settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modit.data.splits import ResultScope, Split
from modit.data.vectors import unit
from modit.evaluate import names
from modit.evaluate.evaluation import Tuned, choose
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.queries import (
    RULES,
    DomainKnowledge,
    SeedFeatures,
    average_pooling,
    best_scored_seeds,
    density_step,
    fixed_move,
    global_attribute_centroid,
    local_feedback,
    rocchio,
)
from modit.evaluate.seeds.rows import Reranking, closed_form_rows
from modit.evaluate.seeds.task import SeedsTask, tail_centroids, within_pattern_auc
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.retrieval import Query
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import DensityPredictor, DomainGeometry

EMBEDDINGS = np.eye(4, dtype=np.float32)
INDEX = ItemIndex.build(EMBEDDINGS, np.array(list("abcd")), IndexParams(kind="flat", threads=1))
KNOWN = KnownVerdicts(
    EMBEDDINGS,
    positive=np.array([False, False, True, True]),
    known=np.array([True, True, True, False]),
)
DOMAIN = DomainKnowledge(
    KNOWN,
    DensityPredictor(np.array([0, 0, 0, 2], np.float32), 0.1, 1.0),
    DomainGeometry(EMBEDDINGS[3], EMBEDDINGS[2], np.zeros(4, np.float32), np.eye(4, dtype=np.float32)),
    KnownPatterns(
        unit(np.array([[1, 0, 0, 1], [0, 1, 1, 0]])), np.ones(2, np.float32), np.zeros(4, np.int32), np.zeros((4, 2))
    ),
)
REQUESTS = [Query(EMBEDDINGS[[0, 1]], k=1), Query(EMBEDDINGS[[1]], k=1)]
SEEDS = SeedFeatures(DOMAIN, REQUESTS)
HALF = np.sqrt(0.5)


def test_average_pooling_is_the_unit_mean_of_the_valid_seeds() -> None:
    np.testing.assert_allclose(average_pooling(SEEDS, {}), [[HALF, HALF, 0, 0], [0, 1, 0, 0]], atol=1e-6)


def test_the_global_centroid_is_made_of_known_positives_alone() -> None:
    np.testing.assert_allclose(global_attribute_centroid(SEEDS, {}), [[0, 0, 1, 0]] * 2, atol=1e-6)


def test_rocchio_adds_the_positives_and_subtracts_the_negatives() -> None:
    without = rocchio(SEEDS, {"weight": 1.0, "negatives": 0.0})
    np.testing.assert_allclose(without[1], [0, HALF, HALF, 0], atol=1e-6)
    with_negatives = rocchio(SEEDS, {"weight": 1.0, "negatives": 1.0})
    np.testing.assert_allclose(with_negatives[1], unit(np.array([-HALF, 1 - HALF, 1, 0])), atol=1e-6)


def test_a_density_step_moves_along_the_unit_direction_whatever_its_length() -> None:
    np.testing.assert_allclose(density_step(SEEDS, {"weight": 1.0})[1], [0, HALF, 0, HALF], atol=1e-6)


def test_best_scored_seeds_takes_those_of_highest_density_in_any_order_and_at_least_one() -> None:
    for order in ([1, 3, 0], [3, 1, 0]):
        asked = SeedFeatures(DOMAIN, [Query(EMBEDDINGS[order], k=1), Query(EMBEDDINGS[[1]], k=1)])
        np.testing.assert_allclose(best_scored_seeds(asked, {"share": 0.001}), EMBEDDINGS[[3, 1]], atol=1e-6)
    # Of equal densities the later seed is taken, as in the cases' ascending order.
    np.testing.assert_allclose(best_scored_seeds(SEEDS, {"share": 0.001}), EMBEDDINGS[[1, 1]], atol=1e-6)


def test_a_fixed_move_steps_from_a_blend_along_density_attribute_or_both() -> None:
    setting = {"blend": "mean", "length": 1.0}
    steps = {"density": [0, 1, 0, 1], "attribute": [0, 1, 1, 0], "both": [0, 1, HALF, HALF]}
    for step, expected in steps.items():
        found = fixed_move(SEEDS, setting | {"step": step})[1]
        np.testing.assert_allclose(found, unit(np.array(expected)), atol=1e-6)


def test_a_move_may_start_from_the_centre_of_the_known_pattern_nearest_to_the_seeds() -> None:
    setting = {"step": "density", "length": 0.0}
    found = fixed_move(SEEDS, setting | {"blend": "known pattern"})
    np.testing.assert_allclose(found[1], [0, HALF, HALF, 0], atol=1e-6)
    between = fixed_move(SEEDS, setting | {"blend": "mean + known pattern"})
    np.testing.assert_allclose(between[1], unit(np.array([0, 1 + HALF, HALF, 0])), atol=1e-6)
    for name in (names.FIXED_MOVE, names.LOCAL_FEEDBACK):
        blends = [setting["blend"] for setting in RULES[name][1]]
        assert blends.count("mean") == blends.count("known pattern") == blends.count("mean + known pattern")


def test_local_feedback_moves_towards_the_nearest_positives_and_away_from_the_nearest_negatives() -> None:
    setting = {"blend": "mean", "step": "density", "length": 0.0, "evidence": "10", "evidence_weight": 1.0}
    # Items 0 and 1 are known negatives, 2 the only known positive; 3 is positive, but nobody knows.
    np.testing.assert_allclose(local_feedback(SEEDS, setting)[1], unit(np.array([-HALF, 1 - HALF, 1, 0])), atol=1e-6)


def test_the_lower_ends_of_weights_and_the_whole_share_are_average_pooling() -> None:
    average = average_pooling(SEEDS, {})
    for rule, setting in ((rocchio, RULES["Rocchio"][1][0]), (density_step, RULES["Density step"][1][0])):
        assert setting["weight"] == 0
        np.testing.assert_allclose(rule(SEEDS, setting), average, atol=1e-6)
    np.testing.assert_allclose(best_scored_seeds(SEEDS, RULES["Best-scored seeds"][1][-1]), average, atol=1e-6)


def test_tail_centroids_take_the_dense_end_of_each_tail() -> None:
    tails = np.array([[0, 1, 2], [1, 3, -1]], np.int32)
    np.testing.assert_allclose(tail_centroids(EMBEDDINGS, tails, 0.2), EMBEDDINGS[[2, 3]], atol=1e-6)
    third = np.sqrt(1 / 3)
    np.testing.assert_allclose(tail_centroids(EMBEDDINGS, tails, 1.0)[0], [third, third, third, 0], atol=1e-6)
    np.testing.assert_allclose(tail_centroids(EMBEDDINGS, tails, 1.0)[1], [0, HALF, 0, HALF], atol=1e-6)


def test_auc_counts_tail_items_nearer_than_seeds_and_halves_ties() -> None:
    query = np.array([[1.0, 0.0], [1.0, 0.0]])
    tails = [np.array([[1.0, 0.0], [0.5, 0.0]]), np.array([[0.2, 0.0]])]
    seeds = [np.array([[0.5, 0.0]]), np.array([[0.2, 0.0], [0.9, 0.0]])]
    np.testing.assert_allclose(within_pattern_auc(query, tails, seeds), [0.75, 0.25])


def choices(context: EvaluationContext, split: Split, reranked: bool = False) -> dict[str, Tuned]:
    task = SeedsTask(context)
    cases = task.cases(split)
    rows = {row.name: choose(task, row, cases) for row in closed_form_rows(context)}
    if reranked:
        rows = {row.name: choose(task, row, cases) for row in Reranking(context, 0).rows(rows)}
    return {name: row.setting["tuned"] for name, row in rows.items()}


def test_the_best_setting_of_the_grid_on_validation_is_chosen(context: EvaluationContext, task: SeedsTask) -> None:
    cases = task.cases(Split.ITEM_VALIDATION)
    for row in closed_form_rows(context):
        chosen = choose(task, row, cases)
        figures = [task.decide(cases, row.build(setting).retrieve(cases.requests)).mean() for setting in row.grid]
        tuned = chosen.setting["tuned"]
        assert (tuned.tried, tuned.validation) == (len(row.grid), max(figures))
        assert tuned.setting == row.grid[int(np.argmax(figures))]
        results = chosen.retriever.retrieve(cases.requests)
        assert task.decide(cases, results).mean() == tuned.validation


def test_a_reranked_row_answers_as_it_was_judged_and_may_keep_to_the_known_pattern(
    context: EvaluationContext, task: SeedsTask
) -> None:
    cases = task.cases(Split.ITEM_HOLDOUT)
    rows = {row.name: choose(task, row, task.cases(Split.ITEM_VALIDATION)) for row in closed_form_rows(context)}
    (row, *_) = Reranking(context, 0).rows(rows)
    settings = [0, len(row.grid) // 8, len(row.grid) - 1]
    judged = list(row.answers(cases.requests))
    for number in settings:
        answered = row.build(row.grid[number]).retrieve(cases.requests)
        for mine, other in zip(judged[number], answered, strict=True):
            np.testing.assert_array_equal(mine.rows, other.rows)
    assert {row.grid[number]["pattern"] for number in settings} == {"any", "same"}
    known = context.known_patterns
    for setting, found in zip(row.grid, judged, strict=True):
        for request, each in zip(cases.requests, found, strict=True):
            inside = known.nearest[each.rows] == known.nearest_to(request.seeds)
            assert setting["pattern"] == "any" or (np.diff(inside.astype(int)) <= 0).all()


def test_a_move_helps_where_the_attribute_has_a_direction(context: EvaluationContext) -> None:
    tuned = choices(context, Split.PATTERN_VALIDATION)
    for name in ("Density step", names.FIXED_MOVE, names.LOCAL_FEEDBACK):
        assert tuned[name].validation > tuned[names.AVERAGE].validation + 0.05
    assert tuned["Density step"].setting["weight"] > 0


@pytest.mark.parametrize("scope", ResultScope)
def test_choices_see_no_verdict_of_a_test_item(context: EvaluationContext, scope: ResultScope) -> None:
    """Turning the verdict of every test item around changes nothing."""
    hidden = ~context.patterns.visible_for_validation
    flipped = {"rare": np.where(hidden, ~context.positive, context.positive).astype(np.int8)}
    own = replace(context, scope=scope)
    other = replace(own, catalog=replace(context.catalog, verdicts=flipped))
    for reranked in (False, True):
        expected = choices(own, Split.ITEM_VALIDATION, reranked)
        assert choices(other, Split.ITEM_VALIDATION, reranked) == expected


def test_no_item_is_evidence_and_judged_result_in_one_case(context: EvaluationContext, task: SeedsTask) -> None:
    for split in Split:
        for request in task.cases(split).requests:
            assert request.allowed is not None
            assert not (request.allowed & context.known_verdicts.known).any()


def test_shuffled_verdicts_give_no_row_a_gain(context: EvaluationContext) -> None:
    """A leak of a result's own verdict would show here first: with it a row gains on verdicts that mean nothing."""
    generator = np.random.default_rng(5)
    gains = []
    for _ in range(4):
        verdicts = generator.permutation(context.catalog.verdicts["rare"])
        other = replace(context, catalog=replace(context.catalog, verdicts={"rare": verdicts}))
        task = SeedsTask(other)
        validation, test = task.cases(Split.ITEM_VALIDATION), task.cases(Split.ITEM_HOLDOUT)
        rows = {row.name: choose(task, row, validation) for row in closed_form_rows(other)}
        rows |= {row.name: choose(task, row, validation) for row in Reranking(other, 0).rows(rows)}
        joint = {name: task.decide(test, row.retriever.retrieve(test.requests)).mean() for name, row in rows.items()}
        gains.append({name: joint[name] - joint[names.AVERAGE] for name in joint})
    for name in gains[0]:
        assert np.mean([gain[name] for gain in gains]) < 0.04, name
