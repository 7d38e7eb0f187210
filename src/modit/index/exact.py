"""Exact top-k inner products at nearly the speed of the matrix product.

Candidates are found with sums in the fastest order: those of few queries by faiss, in a narrow copy where there is
one, those of many by `modit.index.many`. Their scores are then computed again in a canonical order of summation: the
same row and query have the same score in any batch and under any mask. Equal scores are ordered by row.
Measurements: docs/adr/0010-index.md and docs/adr/0036-index-variants.md.

Letters of shapes: B queries, N items, d dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import faiss
import numpy as np

from modit.index.narrow import NarrowCopy

_SLACK = 4  # candidates beyond k: they show whether rounding could have changed the set
FEW = 16  # with fewer queries a matrix product gains nothing
_WIDE = 1024  # longest list that is searched in place of a mask


class Candidates(NamedTuple):
    """Candidates for the best items of a block of queries.

    Attributes:
        queries: The block, as a slice.
        rows: Rows of the items, int64 [b, c].
        least: A score that no other item exceeds, except by rounding, float32 [b].
    """

    queries: slice
    rows: np.ndarray
    least: np.ndarray


def exact_search(
    vectors: np.ndarray,
    queries: np.ndarray,
    k: int,
    narrow: NarrowCopy | None = None,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k greatest inner products of each query.

    Args:
        vectors: float32 [N, d], C-contiguous.
        queries: float32 [B, d]; B < `FEW` with a mask.
        k: Length of the lists, >= 1.
        narrow: A copy of the vectors, which gives the candidates of fewer than `FEW` queries; the answers are the same.
        allowed: bool [N], the rows that may be found, without a copy of them; None for all.

    Returns:
        scores float32 [B, k], descending, and rows int64 [B, k], ties by row; -inf and -1 beyond the last.
    """
    if allowed is not None:
        wide = 2 * k * len(vectors) // max(1, int(np.count_nonzero(allowed))) + _SLACK
        if wide <= _WIDE:
            # The best of all hold the best that are allowed, if they hold enough of them: faster than asking of each.
            scores, rows = exact_search(vectors, queries, wide, narrow)
            hidden = (rows < 0) | ~allowed[rows]
            kept = np.argsort(hidden, axis=1, kind="stable")[:, :k]
            if not np.take_along_axis(hidden, kept, 1).any():
                return np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1)
        narrow = None
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    among = len(vectors) if allowed is None else int(np.count_nonzero(allowed))
    found = min(k, among)
    if found == 0 or len(queries) == 0:
        return scores, rows
    items, wanted = np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(queries, np.float32)
    for block in _candidates(items, wanted, min(among, found + _SLACK), allowed, narrow):
        best, where = _best(items, wanted[block.queries], block, found, allowed, among)
        scores[block.queries, :found], rows[block.queries, :found] = best, where
    return scores, rows


def search_threads(count: int) -> None:
    """Sets the threads of searches that the calling thread starts; others keep theirs."""
    faiss.omp_set_num_threads(count)


def order(scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts each list by score, descending, and equal scores by row."""
    by = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, by, 1), np.take_along_axis(rows, by, 1)


def _candidates(
    items: np.ndarray, queries: np.ndarray, count: int, allowed: np.ndarray | None, narrow: NarrowCopy | None
) -> Iterator[Candidates]:
    if len(queries) >= FEW and allowed is None:
        from modit.index.many import candidates  # imports torch, which serving does without

        for block in candidates(items, queries, count):
            yield Candidates(*block)
        return
    if narrow is not None:
        yield Candidates(slice(None), *narrow.scan(queries, count))
        return
    scores, rows = _scan(items, queries, count, allowed)
    yield Candidates(slice(None), rows, scores.min(1))


def _scan(
    items: np.ndarray, queries: np.ndarray, count: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    if allowed is None:
        return faiss.knn(queries, items, count, metric=faiss.METRIC_INNER_PRODUCT)
    scores, rows = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    bits = np.packbits(allowed, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))  # keeps a bare pointer: the bits must live
    shape = (items.shape[1], len(queries), len(items), count)
    given, found = (faiss.swig_ptr(queries), faiss.swig_ptr(items)), (faiss.swig_ptr(scores), faiss.swig_ptr(rows))
    faiss.knn_inner_product(*given, *shape, *found, selector)
    return scores, rows


def _best(
    items: np.ndarray, queries: np.ndarray, block: Candidates, k: int, allowed: np.ndarray | None, among: int
) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = order(_canonical(items, queries, block.rows), block.rows)
    if rows.shape[1] < among:
        # What was left out scores at most the least candidate, give or take the rounding of two sums of d products.
        unsure = scores[:, k - 1] <= block.least + 2 * _rounding(queries)
        for query in np.flatnonzero(unsure):
            one, floor = queries[query : query + 1], scores[query, k - 1]
            scores[query, :k], rows[query, :k] = _settle(items, one, k, floor, allowed)
    return scores[:, :k], rows[:, :k]


def _settle(
    items: np.ndarray, query: np.ndarray, k: int, floor: float, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Decides a list whose end is tied within rounding: canonical scores of everything that could belong to it."""
    possible = items @ query[0] >= floor - 2 * _rounding(query)
    near = np.flatnonzero(possible if allowed is None else possible & allowed)[None]
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
