"""Small vector helpers over catalogue rows."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scales [..., d] to unit length, float32."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def mean_of_rows(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Unit means of padded rows: int32 [n, m] with -1 for padding -> float32 [n, d]."""
    mask = rows >= 0
    total = (np.asarray(embeddings)[np.where(mask, rows, 0)] * mask[..., None]).sum(1)
    return unit(total)
