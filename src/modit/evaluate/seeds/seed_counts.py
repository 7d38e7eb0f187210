"""Subsets of seeds as callers have them: 1, 3, 5, 10, ... seeds in any order."""

from __future__ import annotations

import numpy as np

from modit.core.seeds import stream
from modit.metric.cases import Cases

COUNTS = (1, 3, 5, 10, 20, 50, 100)


def counts_for(longest: int) -> list[int]:
    """The seed counts to show for cases of up to `longest` seeds, `longest` last."""
    return [count for count in COUNTS if count < longest] + [longest]


def shuffled_seeds(cases: Cases, split: str, seed: int) -> np.ndarray:
    """Each case's seeds in an order that depends on (seed, split, row) alone, int32 [n, m] padded with -1."""
    shuffled = np.full_like(cases.seeds, -1)
    for row, length in enumerate(cases.lengths):
        order = stream(seed, "seed_counts", split, row).permutation(length)
        shuffled[row, :length] = cases.seeds[row, order]
    return shuffled


def in_case_order(cases: Cases, subset: np.ndarray) -> np.ndarray:
    """Subsets of the cases' seeds [n, c], brought back to the ascending order that the cases have."""
    kept = (cases.seeds[:, :, None] == subset[:, None, :]).any(2) & (cases.seeds >= 0)
    ordered = np.full_like(cases.seeds, -1)
    for row, keep in enumerate(kept):
        ordered[row, : keep.sum()] = cases.seeds[row, keep]
    return ordered[:, : subset.shape[1]]
