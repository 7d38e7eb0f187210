"""One codebook: k-means, where some centroids may be frozen."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from modit.index.quantizer import nearest

# Points for each codeword that k-means looks at; more change nothing (FAISS has the same limit).
POINTS_PER_CODEWORD = 256


def fit_codebook(
    points: np.ndarray,
    size: int,
    iterations: int,
    generator: np.random.Generator,
    anchors: np.ndarray | None = None,
) -> np.ndarray:
    """k-means with k-means++ starts. Anchors take points like any codeword, but never move.

    Args:
        points: float32 [n, d].
        size: codewords to fit; fewer are made where there are fewer distinct points that are no anchor.
        iterations: of Lloyd.
        generator: draws the starts, and a sample where there are very many points.
        anchors: frozen codewords float32 [A, d]; None for none.

    Returns:
        float32 [A + fitted, d], the anchors first, bit for bit. Without anchors there is at least one codeword.
    """
    dimension = points.shape[1]
    frozen = np.zeros((0, dimension), np.float32) if anchors is None else anchors
    limit = POINTS_PER_CODEWORD * max(1, size + len(frozen))
    if len(points) > limit:
        points = points[np.sort(generator.choice(len(points), limit, replace=False))]
    points = points.astype(np.float32)
    with threadpool_limits(1):  # sums in one order: the same bits on any number of cores
        fitted = _starts(points, size, generator, frozen)
        for _ in range(iterations if len(fitted) else 0):
            label = nearest(points, np.concatenate([frozen, fitted])) - len(frozen)
            own = label >= 0
            counts = np.bincount(label[own], minlength=len(fitted))
            sums = np.zeros(fitted.shape, np.float64)
            np.add.at(sums, label[own], points[own])
            moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], fitted).astype(np.float32)
            if np.array_equal(moved, fitted):
                break
            fitted = moved
    return np.concatenate([frozen, fitted])


def _starts(points: np.ndarray, size: int, generator: np.random.Generator, frozen: np.ndarray) -> np.ndarray:
    """k-means++: each start is drawn with the squared distance to the nearest codeword so far."""
    if len(points) == 0 or size == 0:
        return np.zeros((0, points.shape[1]), np.float32)
    chosen: list[np.ndarray] = []
    if len(frozen):
        distance = ((points - frozen[nearest(points, frozen)]) ** 2).sum(1, dtype=np.float64)
    else:
        chosen.append(points[generator.integers(len(points))])
        distance = ((points - chosen[0]) ** 2).sum(1, dtype=np.float64)
    scale = max(float((points**2).sum(1, dtype=np.float64).max()), 1e-30)
    while len(chosen) < size:
        distance[distance <= 1e-10 * scale] = 0.0  # the same point but for rounding
        total = distance.sum()
        if total == 0:
            break
        drawn = np.searchsorted(np.cumsum(distance), generator.random() * total, side="right")
        chosen.append(points[min(int(drawn), len(points) - 1)])
        distance = np.minimum(distance, ((points - chosen[-1]) ** 2).sum(1, dtype=np.float64))
    return np.array(chosen, np.float32).reshape(-1, points.shape[1])
