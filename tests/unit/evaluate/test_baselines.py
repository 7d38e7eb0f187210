"""The classical rows on data made by hand, and their tuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from modit.data.splits import Split
from modit.evaluate import names
from modit.evaluate.evaluation import tune
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.rows import (
    RULES,
    TrainingItems,
    average_pooling,
    best_scored_seeds,
    classical_rows,
    density_step,
    global_attribute_centroid,
    rocchio,
)
from modit.evaluate.seeds.task import SeedsTask, tail_centroids, within_pattern_auc
from modit.inference.retrieval import Query
from modit.metric.predictor import DensityPredictor

EMBEDDINGS = np.eye(4, dtype=np.float32)
ITEMS = TrainingItems(
    EMBEDDINGS,
    positive=np.array([False, False, True, True]),
    trainable=np.array([True, True, True, False]),
    predictor=DensityPredictor(np.array([0, 0, 0, 2], np.float32), 0.1, 1.0),
)
REQUESTS = [Query(EMBEDDINGS[[0, 1]], k=1), Query(EMBEDDINGS[[1]], k=1)]
HALF = np.sqrt(0.5)


def test_average_pooling_is_the_unit_mean_of_the_valid_seeds() -> None:
    np.testing.assert_allclose(average_pooling(ITEMS, REQUESTS), [[HALF, HALF, 0, 0], [0, 1, 0, 0]], atol=1e-6)


def test_the_global_centroid_is_made_of_training_positives_alone() -> None:
    np.testing.assert_allclose(global_attribute_centroid(ITEMS, REQUESTS), [[0, 0, 1, 0]] * 2, atol=1e-6)


def test_rocchio_adds_the_weighted_centroid() -> None:
    np.testing.assert_allclose(rocchio(ITEMS, REQUESTS, 1.0)[1], [0, HALF, HALF, 0], atol=1e-6)


def test_a_density_step_moves_along_the_unit_direction_whatever_its_length() -> None:
    np.testing.assert_allclose(density_step(ITEMS, REQUESTS, 1.0)[1], [0, HALF, 0, HALF], atol=1e-6)


def test_best_scored_seeds_takes_those_of_highest_density_in_any_order_and_at_least_one() -> None:
    for order in ([1, 3, 0], [3, 1, 0]):
        asked = [Query(EMBEDDINGS[order], k=1), Query(EMBEDDINGS[[1]], k=1)]
        np.testing.assert_allclose(best_scored_seeds(ITEMS, asked, 0.001), EMBEDDINGS[[3, 1]], atol=1e-6)
    # Of equal densities the later seed is taken, as in the cases' ascending order.
    np.testing.assert_allclose(best_scored_seeds(ITEMS, REQUESTS, 0.001), EMBEDDINGS[[1, 1]], atol=1e-6)


def test_the_lower_ends_of_weights_and_the_whole_share_are_average_pooling() -> None:
    average = average_pooling(ITEMS, REQUESTS)
    np.testing.assert_allclose(rocchio(ITEMS, REQUESTS, RULES["Rocchio"][1][0]), average, atol=1e-6)
    np.testing.assert_allclose(density_step(ITEMS, REQUESTS, RULES["Density step"][1][0]), average, atol=1e-6)
    np.testing.assert_allclose(
        best_scored_seeds(ITEMS, REQUESTS, RULES["Best-scored seeds"][1][-1]), average, atol=1e-6
    )


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


def choices(context: EvaluationContext, split: Split) -> dict[str, object]:
    task = SeedsTask(context)
    return {row.name: tune(task, row, task.cases(split)) for row in classical_rows(context)}


def test_tuning_takes_the_best_value_of_the_grid_on_validation(context: EvaluationContext, task: SeedsTask) -> None:
    cases = task.cases(Split.ITEM_VALIDATION)
    for row in classical_rows(context):
        tuned = tune(task, row, cases)
        assert tuned.grid == RULES[row.name][1]
        assert tuned.validation == max(tuned.grid_figures, default=tuned.validation)
        results = row.build(tuned.value or 0.0).retrieve(cases.requests)
        assert task.judge(cases, results)["joint"].mean() == tuned.validation


def test_tuning_helps_where_the_attribute_has_a_direction(context: EvaluationContext) -> None:
    tuned = choices(context, Split.PATTERN_VALIDATION)
    assert tuned["Density step"].validation > tuned[names.AVERAGE].validation + 0.05
    assert tuned["Density step"].value > 0


def test_tuning_sees_no_test_item(context: EvaluationContext) -> None:
    """Turning the verdict of every test item around changes nothing."""
    hidden = ~context.patterns.visible_for_validation
    flipped = {"rare": np.where(hidden, ~context.positive, context.positive).astype(np.int8)}
    other = replace(context, catalog=replace(context.catalog, verdicts=flipped))
    assert choices(other, Split.ITEM_VALIDATION) == choices(context, Split.ITEM_VALIDATION)


def test_rows_are_built_at_the_chosen_value(context: EvaluationContext, task: SeedsTask) -> None:
    row = next(row for row in classical_rows(context) if row.name == "Rocchio")
    requests = task.cases(Split.ITEM_HOLDOUT).requests
    items = TrainingItems(context.catalog.embeddings, context.positive, context.patterns.trainable, context.predictor)
    expected = rocchio(items, requests, 10.0)
    np.testing.assert_array_equal([found.query for found in row.build(10.0).retrieve(requests)], expected)
