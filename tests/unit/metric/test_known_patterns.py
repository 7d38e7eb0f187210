"""Known patterns: whose seeds they are, and where a pattern ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError
from modit.data.vectors import nearest_centroid, unit
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns, Margins

PATTERNS, MEMBERS, WIDTH = 6, 60, 8


def world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit items around centres, and the pattern of each."""
    generator = np.random.default_rng(seed)
    centres = unit(generator.standard_normal((PATTERNS, WIDTH)))
    items = unit(np.repeat(centres, MEMBERS, 0) + 0.25 * generator.standard_normal((PATTERNS * MEMBERS, WIDTH)))
    items = items.astype(np.float32)
    return items, nearest_centroid(items, np.stack([items[start::1][:MEMBERS].mean(0) for start in starts()]))


def starts() -> range:
    return range(0, PATTERNS * MEMBERS, MEMBERS)


def known_without(items: np.ndarray, labels: np.ndarray, hidden: int) -> KnownPatterns:
    known = labels != hidden
    return KnownPatterns.of(KnownVerdicts(items, np.ones(len(items), bool), known), labels)


def test_the_centre_of_a_pattern_is_the_mean_of_its_known_positives_alone() -> None:
    items, labels = world(0)
    positive = np.random.default_rng(1).random(len(items)) < 0.5
    known = np.random.default_rng(2).random(len(items)) < 0.7
    found = KnownPatterns.of(KnownVerdicts(items, positive, known), labels)
    for pattern, (centre, spread) in enumerate(zip(found.centres, found.spreads, strict=True)):
        own = items[known & positive & (labels == pattern)]
        np.testing.assert_allclose(centre, own.mean(0), atol=1e-6)
        assert spread == pytest.approx(((own - own.mean(0)) ** 2).sum(1).mean(), rel=1e-5)
    other = KnownPatterns.of(KnownVerdicts(items, positive ^ ~known, known), np.where(known, labels, 3))
    np.testing.assert_array_equal(found.centres, other.centres)


def test_the_distances_of_all_items_are_those_to_the_two_nearest_centres() -> None:
    items, labels = world(3)
    found = known_without(items, labels, 2)
    all_of_them = ((items[:, None] - found.centres) ** 2).sum(2)
    np.testing.assert_array_equal(found.nearest, all_of_them.argmin(1))
    np.testing.assert_allclose(found.distances, np.sort(all_of_them, 1)[:, :2], atol=1e-5)


@given(st.integers(0, 40), st.integers(2, 24))
@settings(max_examples=40, deadline=None)
def test_seeds_of_a_known_pattern_are_told_from_those_of_one_that_nobody_knows(seed: int, count: int) -> None:
    items, labels = world(seed)
    generator = np.random.default_rng(seed)
    hidden = int(generator.integers(PATTERNS))
    found = known_without(items, labels, hidden)
    others = [pattern for pattern in range(PATTERNS) if pattern != hidden]
    chances = []
    for pattern in (others[0], hidden):
        own = np.flatnonzero(labels == pattern)
        rows = generator.choice(own, min(count, len(own)), replace=False)
        chances.append(found.margins(items[rows], rows, items[rows]).known)
    # Two seeds may lie on the border; more never do.
    assert chances[0] > 0.5 > chances[1] or count < 8
    assert chances[0] > chances[1]


@pytest.mark.parametrize("hidden", [0, 4])
def test_items_of_the_seeds_pattern_are_likelier_than_others_whether_it_is_known_or_not(hidden: int) -> None:
    items, labels = world(7)
    everything = np.arange(len(items))
    for found in (known_without(items, labels, hidden), known_without(items, labels, -1)):
        seeds = items[labels == hidden][:12]
        chances = np.exp(found.margins(seeds, everything, items).log_probability(15.0))
        assert chances[labels == hidden].mean() > 0.75 and chances[labels != hidden].mean() < 0.05


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=5), st.floats(0, 1), st.floats(0.1, 100))
@settings(deadline=None)
def test_the_probability_is_the_mixture_of_both_answers(margins: list[float], known: float, sharpness: float) -> None:
    if_known = np.array(margins, np.float32)
    if_new = if_known[::-1].copy()
    found = Margins(known, if_known, if_new).log_probability(sharpness)
    sides = [1 / (1 + np.exp(-np.clip(sharpness * side.astype(float), -700, 700))) for side in (if_known, if_new)]
    expected = known * sides[0] + (1 - known) * sides[1]
    assert (found <= 0).all() and np.exp(found.astype(float)) == pytest.approx(expected, abs=1e-5)


def test_the_length_of_seed_vectors_changes_nothing() -> None:
    items, labels = world(4)
    found, rows, seeds = known_without(items, labels, 2), np.arange(len(items)), items[labels == 3][:7]
    longer = seeds * np.linspace(0.1, 30, len(seeds), dtype=np.float32)[:, None]
    expected = found.margins(seeds, rows, items).log_probability(15.0)
    np.testing.assert_allclose(found.margins(longer, rows, items).log_probability(15.0), expected, atol=1e-3)
    assert found.nearest_to(longer) == found.nearest_to(seeds)
    np.testing.assert_allclose(found.moved(items[:1], [longer]), found.moved(items[:1], [seeds]), atol=1e-5)


@given(st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_a_query_moves_no_farther_than_the_probability_that_the_pattern_is_known(seed: int) -> None:
    items, labels = world(seed)
    generator = np.random.default_rng(seed)
    hidden = int(generator.integers(PATTERNS))
    found = known_without(items, labels, hidden)
    query = unit(generator.standard_normal((1, WIDTH)))
    for pattern in range(PATTERNS):
        seeds = items[generator.choice(np.flatnonzero(labels == pattern), 12, replace=False)]
        moved = found.moved(query, [seeds])
        known = found.margins(seeds, np.arange(1), items[:1]).known
        assert np.linalg.norm(moved - query) <= 2 * known * (0.2 + np.linalg.norm(seeds.mean(0))) + 1e-5


def test_lists_of_moved_queries_hold_more_of_a_known_pattern_and_the_same_of_one_that_nobody_knows() -> None:
    gains = {True: [], False: []}
    for seed in range(8):
        items, labels = world(seed)
        generator, found = np.random.default_rng(seed), known_without(items, labels, 0)
        for pattern in range(PATTERNS):
            seeds = items[generator.choice(np.flatnonzero(labels == pattern), 12, replace=False)]
            query = unit(seeds.mean(0, keepdims=True) + 0.25 * generator.standard_normal((1, WIDTH)))
            lists = [np.argsort(-(items @ each[0]))[:40] for each in (query, found.moved(query, [seeds]))]
            before, after = (float((labels[rows] == pattern).mean()) for rows in lists)
            gains[pattern != 0].append(after - before)
    assert np.mean(gains[True]) > 0.05 and abs(np.mean(gains[False])) < 0.01


def test_a_step_is_the_equation() -> None:
    items, labels = world(2)
    found, seeds, query = known_without(items, labels, 5), items[labels == 1][:9], items[:1]
    mean = seeds.mean(0)
    distances = ((found.centres - mean) ** 2).sum(1)
    own, others = distances.argmin(), [place for place in range(5) if place != distances.argmin()]
    known = 1 / (1 + (9 * distances[own] / found.spreads[own] / 5) ** 4)
    weights = np.exp(-2.5 * distances[others] / found.spreads.mean())
    away = mean - weights @ found.centres[others] / weights.sum()
    step = known * (found.centres[own] - mean + 0.2 * away / np.linalg.norm(away))
    np.testing.assert_allclose(found.moved(query, [seeds]), unit(query + step), atol=1e-5)


def test_without_a_known_pattern_every_item_may_lie_in_that_of_the_seeds() -> None:
    items, labels = world(0)
    nothing = KnownPatterns.of(KnownVerdicts(items, np.zeros(len(items), bool), np.ones(len(items), bool)), labels)
    assert nothing.nearest_to(items[:3]) == -1 and set(nothing.nearest) == {-1}
    assert (nothing.margins(items[:3], np.arange(9), items[:9]).log_probability(15.0) == 0).all()
    np.testing.assert_array_equal(nothing.moved(items[:2], [items[:3], items[5:9]]), items[:2])
    np.testing.assert_allclose(nothing.centre_near(items[:3]), items[:3].mean(0), atol=1e-6)


@pytest.mark.parametrize(("positives", "patterns"), [(0, 0), (1, 0), (5, 2), (30, 4), (99, 4), (250, 10), (360, 14)])
def test_positives_without_given_patterns_are_clustered_into_patterns_of_at_least_two(positives, patterns) -> None:
    items, _ = world(6)
    known = np.zeros(len(items), bool)
    known[np.random.default_rng(0).permutation(len(items))[:positives]] = True
    verdicts = KnownVerdicts(items, np.ones(len(items), bool), known)
    found = KnownPatterns.clustered(verdicts, 0)
    # A cluster of one positive is no known pattern.
    assert (len(found.centres) == patterns) if positives > 20 else (len(found.centres) <= patterns)
    np.testing.assert_array_equal(found.centres, KnownPatterns.clustered(verdicts, 0).centres)


def test_beside_one_known_pattern_only_that_one_has_no_border() -> None:
    items, labels = world(0)
    one = KnownPatterns.of(KnownVerdicts(items, np.ones(len(items), bool), labels == 1), labels)
    own, other = items[labels == 1][:12], items[labels == 2][:12]
    everything = np.arange(len(items))
    assert one.margins(own, everything, items).log_probability(15.0)[labels == 2] == pytest.approx(0, abs=0.05)
    assert np.exp(one.margins(other, everything, items).log_probability(15.0))[labels == 1].max() < 0.05


def test_a_pattern_with_one_known_positive_is_not_known() -> None:
    items, labels = world(0)
    known = labels == 1
    known[np.flatnonzero(labels == 2)[0]] = True
    assert len(KnownPatterns.of(KnownVerdicts(items, np.ones(len(items), bool), known), labels).centres) == 1


def test_what_is_saved_is_read_and_another_catalogue_is_refused(tmp_path: Path) -> None:
    items, labels = world(0)
    found = known_without(items, labels, 2)
    for name in ("one.npz", "two.npz"):
        found.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    read = KnownPatterns.load(tmp_path / "one.npz", len(items), WIDTH)
    np.testing.assert_array_equal(read.distances, found.distances)
    np.testing.assert_array_equal(read.nearest, found.nearest)
    with pytest.raises(ArtifactError, match=r"centres is float32 \(5, 8\); allowed: float32 \(5, 9\)"):
        KnownPatterns.load(tmp_path / "one.npz", len(items), 9)
    with pytest.raises(ArtifactError, match=r"nearest is int32 \(360,\); allowed: int32 \(7,\)"):
        KnownPatterns.load(tmp_path / "one.npz", 7, WIDTH)
    replace(found, spreads=found.spreads.astype(np.float64)).save(tmp_path / "wide.npz")
    with pytest.raises(ArtifactError, match="spreads is float64"):
        KnownPatterns.load(tmp_path / "wide.npz", len(items), WIDTH)
    save_arrays(tmp_path / "other.npz", centres=found.centres)
    with pytest.raises(ArtifactError, match="is damaged"):
        KnownPatterns.load(tmp_path / "other.npz", len(items), WIDTH)
