"""Preference pairs from labelled candidates: the case gate and the Pareto filter (Algorithm 2, specification section 6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Pairs(NamedTuple):
    """Kept pairs.

    Attributes:
        case: row of the case of each pair [P].
        winner: candidate number of q+ [P].
        loser: candidate number of q- [P].
    """

    case: np.ndarray
    winner: np.ndarray
    loser: np.ndarray


def build_pairs(joint: np.ndarray, same: np.ndarray, margin: float, tolerance: float | None) -> Pairs:
    """Pairs the best candidate of each case with the clearly worse ones.

    A case takes part only if its best Joint leads the second by `margin`. A pair is kept if its gap is at least `margin`
    and, with a filter, the winner's Same is at least the loser's less `tolerance`.

    Args:
        joint: Joint@K of each candidate [n, p].
        same: Same@K [n, p].
        margin: delta, in (0, 1).
        tolerance: epsilon of the Pareto filter; 0 is strict, None is no filter.
    """
    slack = 1e-9  # shares are multiples of 1/K: a gap of exactly delta passes
    winner = joint.argmax(1)
    ordered = np.sort(joint, 1)
    gate = ordered[:, -1] - ordered[:, -2] >= margin - slack
    top = np.take_along_axis(joint, winner[:, None], 1)
    keep = gate[:, None] & (top - joint >= margin - slack)
    if tolerance is not None:
        keep &= np.take_along_axis(same, winner[:, None], 1) >= same - tolerance - slack
    case, loser = np.nonzero(keep)
    return Pairs(case, winner[case], loser)
