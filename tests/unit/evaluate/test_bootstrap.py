"""Properties of the paired bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from modit.evaluate.bootstrap import (
    MINIMUM_PATTERNS,
    bootstrap_cases,
    bootstrap_clusters,
    direction,
    paired_interval,
)


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = bootstrap_cases(rng.normal(0.3, 1.0, 80), seed=trial, resamples=400)
        covered += interval.low <= 0.3 <= interval.high
    # 95 % nominal; 200 trials have a standard error of 1.5 points, and the percentile interval is a little short.
    assert 0.89 <= covered / 200 <= 0.99


def test_identical_paired_rows_have_no_width() -> None:
    values = np.random.default_rng(0).random(50)
    assert tuple(bootstrap_cases(values - values)) == (0, 0, 0)


def test_the_mean_is_that_of_the_sample_itself() -> None:
    values = np.array([0.0, 0.0, 1.0])
    assert bootstrap_cases(values, resamples=100).mean == pytest.approx(1 / 3)


def test_more_cases_give_a_narrower_interval() -> None:
    values = np.random.default_rng(0).normal(size=1_600)
    few, many = bootstrap_cases(values[:100]), bootstrap_cases(values)
    assert many.high - many.low < 0.4 * (few.high - few.low)


def test_copies_within_a_cluster_widen_the_interval_over_clusters() -> None:
    independent = np.random.default_rng(0).normal(size=20)
    values, clusters = np.repeat(independent, 25), np.repeat(np.arange(20), 25)
    over_cases, over_clusters = bootstrap_cases(values), bootstrap_clusters(values, clusters)
    assert over_clusters.high - over_clusters.low > 4 * (over_cases.high - over_cases.low)
    # Copies carry no information: the honest width is that of the 20 values.
    honest = bootstrap_cases(independent)
    assert over_clusters.high - over_clusters.low == pytest.approx(honest.high - honest.low, rel=0.05)


def test_one_case_a_cluster_is_the_bootstrap_over_cases_computed_by_hand() -> None:
    values, resamples = np.random.default_rng(0).random(30), 300
    drawn = np.random.default_rng(5).integers(30, size=(resamples, 30))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    found = bootstrap_clusters(values, np.arange(30), seed=5, resamples=resamples)
    assert found == pytest.approx((values.mean(), low, high), abs=1e-12)
    # Clusters are drawn in the order of their numbers, so numbering them backwards draws other values.
    backwards = bootstrap_clusters(values, np.arange(30)[::-1], seed=5, resamples=resamples)
    expected = np.quantile(values[::-1][drawn].mean(1), [0.025, 0.975])
    assert (backwards.low, backwards.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_clusters_of_unequal_size_weigh_by_their_cases() -> None:
    values, clusters = np.array([1.0, 1.0, 1.0, 0.0]), np.array([7, 7, 7, 3])
    # Drawn are both of cluster 3, one of each, or both of cluster 7: means 0, 3/4 and 1.
    found = bootstrap_clusters(values, clusters, resamples=2_000)
    assert found == (0.75, 0.0, 1.0)


def test_five_hundred_cases_of_too_few_patterns_tell_nothing() -> None:
    values = np.random.default_rng(0).normal(0.1, 0.01, 500)
    few = paired_interval(values, np.arange(500) % (MINIMUM_PATTERNS - 1), seed=0, resamples=200)
    assert few["case_low"] > 0 and few["pattern_low"] is few["pattern_high"] is None and direction(few) is None
    enough = paired_interval(values, np.arange(500) % MINIMUM_PATTERNS, seed=0, resamples=200)
    assert enough["patterns"] == MINIMUM_PATTERNS and direction(enough) == 1
    assert direction(paired_interval(-values, np.arange(500) % MINIMUM_PATTERNS, seed=0, resamples=200)) == -1


def test_the_deciding_interval_resamples_patterns() -> None:
    effects = np.array([0.3, -0.25, 0.28, -0.2, 0.1, -0.05])
    values, patterns = np.repeat(effects, 80), np.repeat(np.arange(6), 80)
    found = paired_interval(values, patterns, seed=0, resamples=500)
    assert found["case_low"] > 0 > found["pattern_low"] and direction(found) == 0


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_cases(values, seed=1) == bootstrap_cases(values, seed=1)
    assert bootstrap_cases(values, seed=1) != bootstrap_cases(values, seed=2)


@pytest.mark.parametrize("values", [np.array([]), np.array([0.1, np.nan])])
def test_nothing_and_no_number_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="allowed: finite, at least one"):
        bootstrap_cases(values)
