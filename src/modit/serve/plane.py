"""A map of vectors in two dimensions, for people."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT, _MARGIN = 640, 420, 28


class Point(NamedTuple):
    """A place on the map, in pixels from its upper left."""

    x: float
    y: float


def project(vectors: np.ndarray) -> tuple[list[Point], float]:
    """Principal components of the vectors [n, d], scaled to the map with equal units on both axes.

    Returns:
        n places, and the share of the vectors' variance that they show, in [0, 1].
    """
    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2].sum(1, keepdims=True) < 0, -1, 1)  # the sign is anyone's: fixed
    flat = np.zeros((len(vectors), 2))
    flat[:, : len(axes)] = centred @ axes.T
    low, high = flat.min(0), flat.max(0)
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (room / np.maximum(high - low, 1e-9)).min()
    places = (flat - (low + high) / 2) * scale + np.array([WIDTH, HEIGHT]) / 2
    variance = float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-12))
    return [Point(round(float(x), 1), round(HEIGHT - float(y), 1)) for x, y in places], variance
