"""Exact top-k inner products at nearly the speed of the matrix product.

Candidates are found with sums in whatever order is fastest: those of few queries by faiss, those of many by
`modit.index.many`. Their scores are then taken again, *canonical*: the dot product of one row and one query, always
summed in the same order, so the same pair has the same score in any batch and under any mask; equal scores are ordered
by row. What was measured: docs/adr/0010-index.md.

Letters of shapes: B queries, N items, d dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import faiss
import numpy as np

_SLACK = 4  # candidates beyond k: they show whether rounding could have changed the set
_FEW = 16  # with fewer queries a matrix product gains nothing


class Candidates(NamedTuple):
    """What may be the best of a block of queries.

    Attributes:
        queries: which.
        rows: of the items, int64 [b, c].
        least: a score that no other item exceeds but by rounding, float32 [b].
    """

    queries: slice
    rows: np.ndarray
    least: np.ndarray


def exact_search(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k greatest inner products of each query.

    Args:
        vectors: float32 [N, d], C-contiguous.
        queries: float32 [B, d].
        k: length of the lists, >= 1.

    Returns:
        scores float32 [B, k], descending, and rows int64 [B, k], ties by row; -inf and -1 beyond the N-th.
    """
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    found = min(k, len(vectors))
    if found == 0 or len(queries) == 0:
        return scores, rows
    items, wanted = np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(queries, np.float32)
    for block in _candidates(items, wanted, min(len(items), found + _SLACK)):
        best, where = _best(items, wanted[block.queries], block, found)
        scores[block.queries, :found], rows[block.queries, :found] = best, where
    return scores, rows


def search_threads(count: int) -> None:
    """Sets the threads of searches that the calling thread starts; others keep theirs."""
    faiss.omp_set_num_threads(count)


def order(scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts each list by score, descending, and equal scores by row."""
    by = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, by, 1), np.take_along_axis(rows, by, 1)


def _candidates(items: np.ndarray, queries: np.ndarray, count: int) -> Iterator[Candidates]:
    if len(queries) >= _FEW:
        from modit.index.many import candidates  # takes torch, which serving does without

        yield from candidates(items, queries, count)
        return
    scores, rows = faiss.knn(queries, items, count, metric=faiss.METRIC_INNER_PRODUCT)
    yield Candidates(slice(None), rows, scores.min(1))


def _best(items: np.ndarray, queries: np.ndarray, block: Candidates, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = order(_canonical(items, queries, block.rows), block.rows)
    if rows.shape[1] < len(items):
        # What was left out scores at most the least candidate, give or take the rounding of two sums of d products.
        unsure = scores[:, k - 1] <= block.least + 2 * _rounding(queries)
        for query in np.flatnonzero(unsure):
            scores[query, :k], rows[query, :k] = _settle(items, queries[query : query + 1], k, scores[query, k - 1])
    return scores[:, :k], rows[:, :k]


def _settle(items: np.ndarray, query: np.ndarray, k: int, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Decides a list whose end is tied within rounding: canonical scores of everything that could belong to it."""
    near = np.flatnonzero(items @ query[0] >= floor - 2 * _rounding(query))[None]
    scores, rows = order(_canonical(items, query, near), near)
    return scores[0, :k], rows[0, :k]


def _canonical(items: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    scores = np.empty(rows.shape, np.float32)
    pointers = (faiss.swig_ptr(array) for array in (scores, queries, items, rows))
    faiss.fvec_inner_products_by_idx(*pointers, items.shape[1], *rows.shape)
    return scores


def _rounding(queries: np.ndarray) -> np.ndarray:
    # Sums of d float32 products of unit vectors differ by about sqrt(d) half-units (Higham and Mary, 2019);
    # 4 is the margin.
    return 4 * math.sqrt(queries.shape[1]) * 2.0**-24 * np.linalg.norm(queries, axis=1)
