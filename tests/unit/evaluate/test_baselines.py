"""The classical rows on data made by hand, and their tuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from modit.evaluate.baselines import (
    TUNED,
    BaselineContext,
    average_pooling,
    best_scored_seeds,
    density_step,
    global_attribute_centroid,
    rocchio,
)
from modit.evaluate.metrics import within_pattern_auc
from modit.evaluate.oracles import tail_centroids
from modit.evaluate.tuning import classical_queries, tune_classical_rows
from modit.evaluate.world import World, validation_joint
from modit.metric.cases import Cases
from modit.metric.predictor import DensityPredictor

EMBEDDINGS = np.eye(4, dtype=np.float32)
CONTEXT = BaselineContext(
    EMBEDDINGS,
    positive=np.array([False, False, True, True]),
    trainable=np.array([True, True, True, False]),
    predictor=DensityPredictor(np.array([0, 0, 0, 2], np.float32), 0.1, 1.0),
)
CASES = Cases(np.array([[0, 1], [1, -1]], np.int32), np.array([[2], [3]], np.int32), np.array([0, 1], np.int32))
HALF = np.sqrt(0.5)


def test_average_pooling_is_the_unit_mean_of_the_valid_seeds() -> None:
    np.testing.assert_allclose(average_pooling(CONTEXT, CASES), [[HALF, HALF, 0, 0], [0, 1, 0, 0]], atol=1e-6)


def test_the_global_centroid_is_made_of_training_positives_alone() -> None:
    np.testing.assert_allclose(global_attribute_centroid(CONTEXT, CASES), [[0, 0, 1, 0]] * 2, atol=1e-6)


def test_rocchio_adds_the_weighted_centroid() -> None:
    np.testing.assert_allclose(rocchio(CONTEXT, CASES, 1.0)[1], [0, HALF, HALF, 0], atol=1e-6)


def test_a_density_step_moves_along_the_unit_direction_whatever_its_length() -> None:
    np.testing.assert_allclose(density_step(CONTEXT, CASES, 1.0)[1], [0, HALF, 0, HALF], atol=1e-6)


def test_best_scored_seeds_takes_the_last_ones_and_at_least_one() -> None:
    np.testing.assert_allclose(best_scored_seeds(CONTEXT, CASES, 0.001), EMBEDDINGS[[1, 1]], atol=1e-6)


def test_the_lower_ends_of_weights_and_the_whole_share_are_average_pooling() -> None:
    average = average_pooling(CONTEXT, CASES)
    np.testing.assert_allclose(rocchio(CONTEXT, CASES, TUNED["Rocchio"][1][0]), average, atol=1e-6)
    np.testing.assert_allclose(density_step(CONTEXT, CASES, TUNED["Density step"][1][0]), average, atol=1e-6)
    np.testing.assert_allclose(best_scored_seeds(CONTEXT, CASES, TUNED["Best-scored seeds"][1][-1]), average, atol=1e-6)


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


def test_tuning_takes_the_best_value_of_the_grid_on_validation(world: World) -> None:
    cases = world.cases["item_validation"]
    tuned = tune_classical_rows(world, cases)
    for name, (build, grid) in TUNED.items():
        assert tuned[name].grid == grid
        assert tuned[name].validation_joint == max(tuned[name].grid_joint)
        queries = build(world.baseline_context, cases, tuned[name].value)
        assert validation_joint(world, cases, queries) == tuned[name].validation_joint


def test_tuning_helps_where_the_attribute_has_a_direction(world: World) -> None:
    tuned = tune_classical_rows(world, world.cases["pattern_validation"])
    assert tuned["Density step"].validation_joint > tuned["Average pooling"].validation_joint + 0.05
    assert tuned["Density step"].value > 0


def test_tuning_sees_no_test_item(world: World) -> None:
    """Turning the verdict of every test item around changes nothing."""
    cases = world.cases["item_validation"]
    hidden = ~world.patterns.visible_for_validation
    flipped = {"rare": np.where(hidden, ~world.positive, world.positive).astype(np.int8)}
    other = replace(world, catalog=replace(world.catalog, verdicts=flipped))
    assert tune_classical_rows(other, cases) == tune_classical_rows(world, cases)


def test_rows_are_built_at_the_chosen_value(world: World) -> None:
    tuned = tune_classical_rows(world, world.cases["item_validation"])
    chosen = {**tuned, "Rocchio": replace(tuned["Rocchio"], value=10.0)}
    cases = world.cases["item_holdout"]
    expected = rocchio(world.baseline_context, cases, 10.0)
    np.testing.assert_array_equal(classical_queries(world, cases, chosen)["Rocchio"], expected)
