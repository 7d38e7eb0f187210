"""From the lists of several queries to one set of items without repeats."""

from __future__ import annotations

import numpy as np


def best_rows(scores: np.ndarray, count: int) -> np.ndarray:
    """The rows of greatest score of each list, best first and the lower row of equals.

    Args:
        scores: of all items for each query [k, N].
        count: rows wanted, >= 1.

    Returns:
        int64 [k, min(count, N)].
    """
    return np.stack([_best(each, min(count, scores.shape[1])) for each in scores])


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    rows = np.arange(len(scores))
    if count < len(scores):
        rows = np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])
    # a copy: a part of the order would keep the whole in memory, for each result of an evaluation
    return rows[np.argsort(-scores[rows], kind="stable")[:count]].copy()


def merged(lists: np.ndarray, pool: int) -> np.ndarray:
    """The first `pool` different items of lists that take turns: all first results, then all second ones, and so on.

    Args:
        lists: rows of the catalogue, int64 [k, n], each list without repeats.
        pool: items wanted, >= 1.

    Returns:
        int64 [m], m <= pool: fewer only if the lists hold fewer different items.
    """
    return _different(lists.T.ravel(), pool)


def mixed(first: np.ndarray, second: np.ndarray, share: float, pool: int) -> np.ndarray:
    """The first `pool` different items of two lists, of which the first fills its share of every beginning.

    Args:
        first: rows of the catalogue, int64 [n].
        second: the other list, int64 [m].
        share: in [0, 1]; 0 and 1 put one list behind the other.
        pool: items wanted, >= 1.

    Returns:
        int64 [p], p <= pool: fewer only if the lists hold fewer different items.
    """
    with np.errstate(divide="ignore", over="ignore"):  # a share next to nothing: far behind
        places = [np.divide(np.arange(len(rows)) + 0.5, of) for rows, of in ((first, share), (second, 1 - share))]
    return _different(np.concatenate([first, second])[np.argsort(np.concatenate(places), kind="stable")], pool)


def _different(rows: np.ndarray, pool: int) -> np.ndarray:
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)[:pool]]
