"""Paired bootstrap of per-case figures over whole patterns, which decides, and over cases (specification section 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

_BLOCK = 500
# Most numbers of drawn clusters that are kept, 40 MB.
_KEPT = 5_000_000
# With fewer patterns the resampled means take a handful of values, and their quantiles say nothing.
MINIMUM_PATTERNS = 5
TOO_FEW = "too few patterns to tell"


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
        mean: Of the sample itself.
        low: 2.5 % quantile of the resampled means.
        high: 97.5 % quantile of the resampled means.
    """

    mean: float
    low: float
    high: float


def bootstrap_cases(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> Interval:
    """Resamples cases with replacement, as the paper does (B = 10,000).

    Args:
        values: A figure, or a paired difference, of each case [n].
        seed: Of the resampling.
        resamples: B.
    """
    return bootstrap_clusters(values, np.arange(len(values)), seed, resamples)


def bootstrap_clusters(values: np.ndarray, clusters: np.ndarray, seed: int = 0, resamples: int = 10_000) -> Interval:
    """Resamples whole clusters with replacement, because cases of one pattern are not independent of each other.

    Args:
        values: A figure, or a paired difference, of each case [n].
        clusters: The pattern of each case [n].
        seed: Of the resampling.
        resamples: B.

    Returns:
        The mean over all cases, and the quantiles of the resampled means.

    Raises:
        ValueError: There is no value, or one is not finite.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"{len(values)} values, {int((~np.isfinite(values)).sum())} not finite; allowed: finite, at least one"
        )
    index = np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(index, values), np.bincount(index)
    means, start = np.empty(resamples), 0
    for drawn in _resampled(seed, resamples, len(sums)):
        count = len(values) if len(sums) == len(values) else sizes.take(drawn).sum(1)
        means[start : start + len(drawn)] = sums.take(drawn).sum(1) / count
        start += len(drawn)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def _resampled(seed: int, resamples: int, clusters: int) -> Iterable[np.ndarray]:
    """Clusters that are drawn, int [b, C] for some resamples at a time: the same for all figures of the same cases."""
    return (_kept if resamples * clusters <= _KEPT else _draws)(seed, resamples, clusters)


@lru_cache(maxsize=2)  # over cases, and over patterns
def _kept(seed: int, resamples: int, clusters: int) -> tuple[np.ndarray, ...]:
    return tuple(_draws(seed, resamples, clusters))


def _draws(seed: int, resamples: int, clusters: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        yield generator.integers(clusters, size=(min(_BLOCK, resamples - start), clusters))


def paired_interval(values: np.ndarray, patterns: np.ndarray, seed: int, resamples: int) -> dict[str, Any]:
    """A mean with both 95 % intervals, as `evaluation.json` has them.

    The interval over patterns decides. With fewer than `MINIMUM_PATTERNS` there is none: nothing can be told.

    Args:
        values: A figure, or a paired difference, of each case [n].
        patterns: The pattern of each case [n].
        seed: Of the resampling; the same for all figures, so that the same resamples are compared.
        resamples: B.

    Returns:
        `mean`; `patterns`, how many there are; `pattern_low` and `pattern_high`, None with too few patterns;
        `case_low` and `case_high`.
    """
    over_cases = bootstrap_cases(values, seed, resamples)
    count = len(np.unique(patterns))
    over_patterns = bootstrap_clusters(values, patterns, seed, resamples) if count >= MINIMUM_PATTERNS else None
    return {
        "mean": over_cases.mean,
        "patterns": count,
        "pattern_low": over_patterns.low if over_patterns else None,
        "pattern_high": over_patterns.high if over_patterns else None,
        "case_low": over_cases.low,
        "case_high": over_cases.high,
    }


def direction(interval: dict[str, Any]) -> int | None:
    """Which side of zero the interval over patterns lies on: 1 above, -1 below, 0 neither, None with too few patterns.

    Args:
        interval: As `paired_interval` returns it.
    """
    if interval["pattern_low"] is None:
        return None
    return int(interval["pattern_low"] > 0) - int(interval["pattern_high"] < 0)


def interval_text(interval: dict[str, Any]) -> str:
    """The mean in shares with the interval over patterns: "+0.031 [+0.012, +0.050]", or that nothing can be told.

    Args:
        interval: As `paired_interval` returns it.
    """
    low, high = interval["pattern_low"], interval["pattern_high"]
    return f"{interval['mean']:+.3f} [{TOO_FEW if low is None else f'{low:+.3f}, {high:+.3f}'}]"
