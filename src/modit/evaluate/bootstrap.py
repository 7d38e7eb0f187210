"""Paired bootstrap of per-case differences, over cases and over patterns (specification section 8)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_BLOCK = 500


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
        mean: of the sample itself.
        low: 2.5 % quantile of the resampled means.
        high: 97.5 % quantile.
    """

    mean: float
    low: float
    high: float


def bootstrap_cases(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> Interval:
    """Resamples cases with replacement, as the paper does (B = 10,000).

    Args:
        values: a figure, or a paired difference, of each case [n].
        seed: of the resampling.
        resamples: B.
    """
    return bootstrap_clusters(values, np.arange(len(values)), seed, resamples)


def bootstrap_clusters(values: np.ndarray, clusters: np.ndarray, seed: int = 0, resamples: int = 10_000) -> Interval:
    """Resamples whole patterns: cases of one pattern are not independent, so this is the honest interval.

    Args:
        values: [n].
        clusters: the pattern of each case [n].
        seed: of the resampling.
        resamples: B.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"{len(values)} values, {int((~np.isfinite(values)).sum())} not finite; allowed: finite, at least one"
        )
    index = np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(index, values), np.bincount(index)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _BLOCK):
        drawn = generator.integers(len(sums), size=(min(_BLOCK, resamples - start), len(sums)))
        means[start : start + len(drawn)] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
