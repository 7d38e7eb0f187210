"""A torch model generates the queries of equal requests once, and those of others anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modit.evaluate.seeds import models
from modit.evaluate.seeds.models import case_noise
from modit.inference.retrieval import Query
from tests.unit.evaluate.conftest import build_generator


@pytest.fixture
def requests(context):
    seeds = context.catalog.embeddings.astype(np.float32)
    noise = case_noise(3, seeds.shape[1], 0)
    return [Query(seeds[row : row + 2], 5, exclude=np.array([row]), noise=noise[row : row + 1]) for row in range(3)]


@pytest.fixture
def asked(monkeypatch):
    """How many requests each call generated queries for."""
    counts, generate = [], models.fan_queries
    monkeypatch.setattr(models, "fan_queries", lambda *given: counts.append(len(given[1])) or generate(*given))
    return counts


def test_equal_requests_get_their_queries_once_whatever_they_search(context, requests, asked):
    generator, allowed = build_generator(context, 0), np.arange(len(context.catalog)) % 2 == 0
    first = generator.retrieve(requests)
    second = generator.retrieve([replace(each, k=3, allowed=allowed) for each in requests])
    assert asked == [3]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.query, other.query) and len(other.rows) == 3 and (other.rows % 2 == 0).all()


@pytest.mark.parametrize("change", ["seeds", "noise", "exclude"])
def test_requests_that_differ_get_their_own_queries(context, requests, asked, change):
    generator = build_generator(context, 0)
    generator.retrieve(requests)
    others = {"seeds": requests[0].seeds[::-1], "noise": -requests[0].noise, "exclude": np.array([7])}
    generator.retrieve([replace(requests[0], **{change: others[change]}), *requests[1:]])
    assert asked == [3, 3]


def test_what_a_model_with_other_verdicts_is_asked_is_generated_anew(context, requests, asked):
    generator = build_generator(context, 0)
    generator.retrieve(requests)
    replace(generator, verdicts=context.known_verdicts).retrieve(requests)
    assert asked == [3, 3]
