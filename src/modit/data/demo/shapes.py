"""Attributes of a demo world that no linear map of the embedding finds.

A shape turns two independent standardised coordinates of an item inside its pattern into a score. The scores are
standardised, so noise and steepness mean the same as for a linear domain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_RING_RADIUS = 1.8
_SAMPLE, _SAMPLE_SEED = 200_000, 0


def two_regions(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The attribute lies at both ends of one direction."""
    return np.abs(first)


def ring(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The attribute lies at one distance from the pattern's centre, whatever the direction."""
    return -np.abs(np.hypot(first, second) - _RING_RADIUS)


def interaction(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The attribute needs both coordinates to have the same sign."""
    return first * second


# In the order in which the last domains of a world take them.
SHAPES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (two_regions, ring, interaction)


def shaped_score(shape: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The standardised score of items.

    Args:
        shape: Number of the shape, taken in turn.
        first: Standardised coordinate along the domain's direction [n].
        second: Along another direction [n].
    """
    values = SHAPES[shape % len(SHAPES)](first, second)
    sample = _sampled(shape)
    return (values - sample.mean()) / sample.std()


def score_sample(shape: int) -> np.ndarray:
    """A fixed sample of standardised scores, to find a threshold with."""
    sample = _sampled(shape)
    return (sample - sample.mean()) / sample.std()


def _sampled(shape: int) -> np.ndarray:
    coordinates = np.random.default_rng(_SAMPLE_SEED).standard_normal((2, _SAMPLE))
    return SHAPES[shape % len(SHAPES)](*coordinates)
