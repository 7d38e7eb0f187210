"""Seed subsets: fixed by the case, nested, and brought back into order."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from modit.evaluate.generators import Generator, fan_queries
from modit.evaluate.seed_counts import counts_for, in_case_order, shuffled_seeds
from modit.evaluate.world import World
from modit.model.sampler import generate_queries


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(1, [1]), (5, [1, 3, 5]), (24, [1, 3, 5, 10, 20, 24]), (150, [1, 3, 5, 10, 20, 50, 100, 150])],
)
def test_counts_end_at_all_seeds(longest: int, expected: list[int]) -> None:
    assert counts_for(longest) == expected


def test_a_shuffle_keeps_each_cases_seeds_and_depends_on_its_row_alone(world: World) -> None:
    cases = world.cases["item_holdout"]
    shuffled = shuffled_seeds(cases, "item_holdout", 7)
    np.testing.assert_array_equal(np.sort(shuffled, 1), np.sort(cases.seeds, 1))
    assert (shuffled != cases.seeds).any()
    np.testing.assert_array_equal(shuffled, shuffled_seeds(cases, "item_holdout", 7))
    assert (shuffled != shuffled_seeds(cases, "item_holdout", 8)).any()


def test_a_subset_in_case_order_ascends_in_predicted_density(world: World) -> None:
    cases = world.cases["item_holdout"]
    subset = shuffled_seeds(cases, "item_holdout", 7)[:, :4]
    ordered = in_case_order(cases, subset)
    np.testing.assert_array_equal(np.sort(ordered, 1), np.sort(subset, 1))
    density = world.predictor.predict(world.catalog.embeddings)
    for row in ordered:
        assert (np.diff(density[row[row >= 0]]) >= 0).all()


def test_models_of_equal_weights_give_equal_unit_queries_from_a_seed(world: World, generators: list[Generator]) -> None:
    seeds, embeddings = world.cases["item_holdout"].seeds, world.catalog.embeddings
    queries = fan_queries(generators[0].sampler, embeddings, seeds, [1.0, 3.0], 5)
    twin = fan_queries(copy.deepcopy(generators[0].sampler), embeddings, seeds, [1.0, 3.0], 5)
    np.testing.assert_array_equal(queries, twin)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=-1), 1, atol=1e-5)
    assert (queries != fan_queries(generators[0].sampler, embeddings, seeds, [1.0, 3.0], 6)).any()


def test_reading_only_the_seeds_rows_changes_nothing(world: World, generators: list[Generator]) -> None:
    seeds, embeddings = world.cases["item_holdout"].seeds, world.catalog.embeddings
    whole = generate_queries(
        generators[0].sampler, torch.from_numpy(embeddings), torch.from_numpy(seeds).long(), [2.0], 5
    )
    np.testing.assert_array_equal(fan_queries(generators[0].sampler, embeddings, seeds, [2.0], 5), whole.numpy())
