"""Copies of the vectors in fewer bits, which make the search of a single query faster.

A single query waits for memory, and a copy has a quarter or half of the bytes. A scan of the copy returns candidates
and a bound on the score of all other items, from which the exact search continues.
"""

from __future__ import annotations

from typing import TypeAlias

import faiss
import numpy as np

_BLOCK = 2**16
_BYTE = 127.0  # greatest number of a code
_TRIAL = 32  # queries that are tried on a copy of bytes
_TRIAL_LIST = 100
_SETTLED = 0.95  # share of the trial's lists that the copy must settle


class HalfCopy:
    """float16, half the bytes.

    Attributes:
        error: greatest length of the difference between a vector and its copy: by Cauchy and Schwarz no score of a
            unit query is off by more.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._index = _empty(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16)
        self.error = 0.0
        for start in range(0, len(vectors), _BLOCK):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32)
            self._index.add(block)
            copied = self._index.reconstruct_n(start, len(block))
            self.error = max(self.error, float(np.linalg.norm(block - copied, axis=1).max()))

    def scan(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best items by the scores of the copy.

        Args:
            queries: float32 [B, d].
            count: Least number of rows to return, at most N.

        Returns:
            Rows, int64 [B, c] with c >= count, and float32 [B]: a score that no other item exceeds, except by rounding.
        """
        scores, rows = self._index.search(queries, min(self._index.ntotal, 2 * count))
        return rows, scores.min(1) + np.float32(self.error) * np.linalg.norm(queries, axis=1)


class ByteCopy:
    """int8 in one scale for all vectors, a quarter of the bytes; a query is rounded too, in a scale of its own.

    With x = x' + r and q = q' + s, x' and q' the rounded ones: q.x = q'.x' + q.r + s.x', so by Cauchy and Schwarz
    |q.x - q'.x'| <= |q| |r| + |s| |x'|.

    Attributes:
        error: greatest |r|.
        longest: greatest |x'|.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._index = _empty(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed)
        self._scale = max(float(vectors.max()), -float(vectors.min())) / _BYTE or 1.0
        self.error = self.longest = 0.0
        for start in range(0, len(vectors), _BLOCK):
            block = np.asarray(vectors[start : start + _BLOCK], np.float32)
            codes = np.rint(block / np.float32(self._scale))
            self._index.add(codes)
            copied = codes * np.float32(self._scale)
            self.error = max(self.error, float(np.linalg.norm(block - copied, axis=1).max()))
            self.longest = max(self.longest, float(np.linalg.norm(copied, axis=1).max()))

    def scan(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best items by the scores of the copy; see `HalfCopy.scan`."""
        scales = np.maximum(np.abs(queries).max(1, keepdims=True) / np.float32(_BYTE), np.finfo(np.float32).tiny)
        codes = np.rint(queries / scales)
        scores, rows = self._index.search(codes, min(self._index.ntotal, max(256, 4 * count)))
        off = self.error * np.linalg.norm(queries, axis=1)
        off += self.longest * np.linalg.norm(queries - codes * scales, axis=1)
        return rows, (scores.min(1) * (scales[:, 0] * np.float32(self._scale)) + off).astype(np.float32)


NarrowCopy: TypeAlias = HalfCopy | ByteCopy


def narrow_copy(vectors: np.ndarray) -> NarrowCopy:
    """Bytes, unless their bound is too loose for these vectors to settle lists: then half precision.

    That is so where one number of the vectors is far greater than the others, or where very many items lie within a
    hundredth of each other; tried on a list of 100 items for some of the vectors.

    Args:
        vectors: float32 [N, d], C-contiguous, N >= 1.
    """
    copy = ByteCopy(vectors)
    queries = vectors[np.linspace(0, len(vectors) - 1, _TRIAL, dtype=np.int64)]
    wanted = min(_TRIAL_LIST, len(vectors))
    rows, bound = copy.scan(queries, wanted)
    if rows.shape[1] == len(vectors):
        return copy
    scores = np.einsum("bcd,bd->bc", vectors[rows], queries)
    last = np.partition(scores, -wanted, axis=1)[:, -wanted]
    return copy if (last > bound).mean() >= _SETTLED else HalfCopy(vectors)


def _empty(dimension: int, kind: int) -> faiss.IndexScalarQuantizer:
    index = faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True  # there is nothing to learn
    return index
