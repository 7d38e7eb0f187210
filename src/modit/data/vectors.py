"""Vector helpers over catalogue rows: unit length, means of rows, the nearest centroid."""

from __future__ import annotations

import numpy as np

from modit.core.memory import at_once

# Rows that a search for the nearest centroid takes at a time, which bounds the memory.
ROWS_AT_ONCE = 65_536


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scales [..., d] to unit length, float32."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def mean_of_rows(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Unit means of padded rows: int32 [n, m] with -1 for padding -> float32 [n, d]."""
    mask = rows >= 0
    total = (np.asarray(embeddings)[np.where(mask, rows, 0)] * mask[..., None]).sum(1)
    return unit(total)


def nearest_centroid(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The nearest centroid (Euclidean) among [C, d] of embeddings [N, d], int32 [N]; of equally near ones the first."""
    half_norm = 0.5 * (centroids**2).sum(1)
    nearest = np.empty(len(embeddings), np.int32)
    rows = at_once(ROWS_AT_ONCE)
    for start in range(0, len(embeddings), rows):
        block = np.asarray(embeddings[start : start + rows])
        nearest[start : start + rows] = (block @ centroids.T - half_norm).argmax(1)
    return nearest
