"""Seed subsets: fixed by the case, nested, and brought back into order."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from modit.data.splits import Split
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import fan_queries
from modit.evaluate.seeds.seed_counts import counts_for, in_case_order, shuffled_seeds
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.task import Row
from modit.inference.retrieval import Query
from modit.model.sampler import generate_queries


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(1, [1]), (5, [1, 3, 5]), (24, [1, 3, 5, 10, 20, 24]), (150, [1, 3, 5, 10, 20, 50, 100, 150])],
)
def test_counts_end_at_all_seeds(longest: int, expected: list[int]) -> None:
    assert counts_for(longest) == expected


def test_a_shuffle_keeps_each_cases_seeds_and_depends_on_its_row_alone(context: EvaluationContext) -> None:
    cases = context.cases["item_holdout"]
    shuffled = shuffled_seeds(cases, "item_holdout", 7)
    np.testing.assert_array_equal(np.sort(shuffled, 1), np.sort(cases.seeds, 1))
    assert (shuffled != cases.seeds).any()
    np.testing.assert_array_equal(shuffled, shuffled_seeds(cases, "item_holdout", 7))
    assert (shuffled != shuffled_seeds(cases, "item_holdout", 8)).any()


def test_a_subset_in_case_order_ascends_in_predicted_density(context: EvaluationContext) -> None:
    cases = context.cases["item_holdout"]
    subset = shuffled_seeds(cases, "item_holdout", 7)[:, :4]
    ordered = in_case_order(cases, subset)
    np.testing.assert_array_equal(np.sort(ordered, 1), np.sort(subset, 1))
    density = context.predictor.predict(context.catalog.embeddings)
    for row in ordered:
        assert (np.diff(density[row[row >= 0]]) >= 0).all()


def test_models_of_equal_weights_give_equal_unit_queries_from_a_seed(
    context: EvaluationContext, models: list[Row[Query]]
) -> None:
    requests = SeedsTask(context, 5).cases(Split.ITEM_HOLDOUT).requests
    sampler = models[0].retriever.sampler
    queries = fan_queries(sampler, requests, [1.0, 3.0])
    np.testing.assert_array_equal(queries, fan_queries(copy.deepcopy(sampler), requests, [1.0, 3.0]))
    np.testing.assert_allclose(np.linalg.norm(queries, axis=-1), 1, atol=1e-5)
    other = SeedsTask(context, 6).cases(Split.ITEM_HOLDOUT).requests
    assert (queries != fan_queries(sampler, other, [1.0, 3.0])).any()


def test_queries_are_those_of_validation_and_training_for_the_same_noise(
    context: EvaluationContext, models: list[Row[Query]]
) -> None:
    seeds, embeddings = context.cases["item_holdout"].seeds, context.catalog.embeddings
    sampler = models[0].retriever.sampler
    whole = generate_queries(sampler, torch.from_numpy(embeddings), torch.from_numpy(seeds).long(), [2.0], 5)
    requests = SeedsTask(context, 5).cases(Split.ITEM_HOLDOUT).requests
    np.testing.assert_array_equal(fan_queries(sampler, requests, [2.0]), whole.numpy())
