"""From the lists of several queries to one set of items without repeats."""

from __future__ import annotations

import numpy as np


def best_rows(scores: np.ndarray, count: int) -> np.ndarray:
    """The rows of greatest score of each list, best first and the lower row of equals: [k, N] -> int64 [k, count]."""
    # a copy: a part of the order of all N would keep the whole in memory, for each result of an evaluation
    return np.argsort(-scores, axis=1, kind="stable")[:, :count].copy()


def merged(lists: np.ndarray, pool: int) -> np.ndarray:
    """The first `pool` different items of lists that take turns: all first results, then all second ones, and so on.

    Args:
        lists: rows of the catalogue, int64 [k, n], each list without repeats.
        pool: items wanted, >= 1.

    Returns:
        int64 [m], m <= pool: fewer only if the lists hold fewer different items.
    """
    in_turn = lists.T.ravel()
    _, first = np.unique(in_turn, return_index=True)
    return in_turn[np.sort(first)[:pool]]
