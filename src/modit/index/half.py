"""A copy of vectors at half precision: a scan of it reads half the bytes, and that is what a single query waits for."""

from __future__ import annotations

import faiss
import numpy as np

_BLOCK = 2**16


class HalfCopy:
    """float16 copy of vectors, and how far its scores can be off.

    Attributes:
        error: greatest length of the difference between a vector and its copy: by Cauchy and Schwarz no score of a
            unit query is off by more.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        """Args: `vectors` float32 [N, d], C-contiguous."""
        self._index = faiss.IndexScalarQuantizer(
            vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._index.is_trained = True  # there is nothing to learn
        self.error = 0.0
        for start in range(0, len(vectors), _BLOCK):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32)
            self._index.add(block)
            copied = self._index.reconstruct_n(start, len(block))
            self.error = max(self.error, float(np.linalg.norm(block - copied, axis=1).max()))

    def scan(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The best by the copy.

        Args:
            queries: float32 [B, d].
            count: how many, at most N.

        Returns:
            rows int64 [B, count], and float32 [B]: a score that no other item exceeds but by rounding.
        """
        scores, rows = self._index.search(queries, count)
        return rows, scores.min(1) + np.float32(self.error) * np.linalg.norm(queries, axis=1)
