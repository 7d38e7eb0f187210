"""The look-up of known verdicts and the directions that they give."""

from __future__ import annotations

import numpy as np
import pytest

from modit.data.vectors import unit
from modit.metric import evidence
from modit.metric.evidence import KnownVerdicts, feedback_direction, local_probe

ITEMS, WIDTH = 400, 6


@pytest.fixture
def known() -> KnownVerdicts:
    generator = np.random.default_rng(0)
    embeddings = unit(generator.standard_normal((ITEMS, WIDTH)))
    return KnownVerdicts(embeddings, embeddings[:, 0] > 0.2, generator.random(ITEMS) < 0.7)


def test_the_nearest_are_those_of_an_exhaustive_search(known: KnownVerdicts) -> None:
    points = known.embeddings[:30]
    for positive, mask in ((True, known.positives), (False, known.negatives)):
        scores = np.where(mask, points @ known.embeddings.T, -np.inf)
        expected = np.argsort(-scores, 1, kind="stable")[:, :12]
        np.testing.assert_array_equal(known.nearest(points, 12, positive), expected)


def test_places_beyond_what_is_known_are_empty(known: KnownVerdicts) -> None:
    few = KnownVerdicts(known.embeddings, known.positive, np.arange(ITEMS) < 8)
    found = few.nearest(known.embeddings[:3], 20, positive=True)
    assert found.shape == (3, 20) and ((found >= 0).sum(1) == few.positives.sum()).all()
    none = KnownVerdicts(known.embeddings, known.positive, np.zeros(ITEMS, bool))
    assert not none.directions(known.embeddings[:3]).any()


def test_seeds_are_no_evidence_of_what_is_near_them(known: KnownVerdicts) -> None:
    points, seeds = known.embeddings[:4], np.flatnonzero(known.known)[:40].reshape(4, 10)
    without = [
        KnownVerdicts(known.embeddings, known.positive, known.known & ~np.isin(np.arange(ITEMS), rows))
        for rows in seeds
    ]
    expected = np.concatenate([own.directions(point[None]) for own, point in zip(without, points, strict=True)])
    padded = np.pad(seeds, ((0, 0), (0, 3)), constant_values=-1)
    np.testing.assert_allclose(known.directions(points, padded), expected, atol=1e-5)
    assert np.abs(known.directions(points) - expected).max() > 0.01


def test_a_verdict_that_is_not_known_changes_nothing(known: KnownVerdicts) -> None:
    other = KnownVerdicts(known.embeddings, np.where(known.known, known.positive, ~known.positive), known.known)
    points = known.embeddings[:20]
    np.testing.assert_array_equal(other.directions(points), known.directions(points))


def test_directions_point_to_where_the_positives_are(known: KnownVerdicts) -> None:
    directions = known.directions(unit(np.ones((1, WIDTH))))[0]
    assert (directions[:, 0] > 0.3).all()


def test_one_point_at_a_time_gives_the_directions_of_all_at_once(known: KnownVerdicts) -> None:
    points = known.embeddings[:20]
    apart = np.concatenate([known.directions(point[None]) for point in points])
    np.testing.assert_allclose(apart, known.directions(points), atol=1e-5)


def test_more_known_items_than_are_searched_are_sampled_alike_each_time(
    known: KnownVerdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_MOST_ROWS", 40)
    points = known.embeddings[:5]
    first, again = (KnownVerdicts(known.embeddings, known.positive, known.known) for _ in range(2))
    found = first.nearest(points, 100, positive=False)
    assert ((found >= 0).sum(1) == 40).all() and known.negatives[found[found >= 0]].all()
    np.testing.assert_array_equal(found, again.nearest(points, 100, positive=False))


def test_the_probe_is_ridge_regression_whichever_of_the_two_systems_is_solved() -> None:
    generator = np.random.default_rng(1)
    for width in (5, 60):  # fewer and more numbers than items
        embeddings = unit(generator.standard_normal((30, width)))
        rows = np.arange(30)[None]
        items = embeddings.astype(np.float64) - embeddings.mean(0)
        verdicts = np.repeat([1.0, 0.0], [10, 20]) - 1 / 3
        ridge = (items**2).sum() / width
        expected = np.linalg.solve(items.T @ items + ridge * np.eye(width), items.T @ verdicts)
        found = local_probe(embeddings, rows[:, :10], rows[:, 10:])[0]
        np.testing.assert_allclose(found, unit(expected), atol=1e-5)


def test_feedback_is_the_mean_of_the_positives_minus_that_of_the_negatives() -> None:
    embeddings = np.eye(3, dtype=np.float32)
    found = feedback_direction(embeddings, np.array([[0, -1]]), np.array([[1, 2]]))
    np.testing.assert_allclose(found, [[1, -np.sqrt(0.5), -np.sqrt(0.5)]], atol=1e-6)
