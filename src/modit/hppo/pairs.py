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


def build_pairs(
    joint: np.ndarray, same: np.ndarray, margin: float, tolerance: float | None, served: np.ndarray | None = None
) -> Pairs:
    """Pairs the best candidate of each case with the clearly worse ones.

    A case takes part only if its best Joint leads by `margin`: the second best candidate (Algorithm 2), or what the policy
    serves today where `served` is given (docs/adr/0005: with many candidates the best two are always close). A pair is kept
    if its gap is at least `margin` and, with a filter, the winner's Same is at least the loser's less `tolerance`.

    Args:
        joint: Joint@K of each candidate [n, p].
        same: Same@K [n, p].
        margin: delta, in (0, 1).
        tolerance: epsilon of the Pareto filter; 0 is strict, None is no filter.
        served: Joint@K of the policy's own query [n], or None for the paper's gate.
    """
    slack = 1e-9  # shares are multiples of 1/K: a gap of exactly delta passes
    winner = (joint + slack * same).argmax(1)
    top = np.take_along_axis(joint, winner[:, None], 1)
    rival = np.sort(joint, 1)[:, -2] if served is None else served
    keep = (top - rival[:, None] >= margin - slack) & (top - joint >= margin - slack)
    if tolerance is not None:
        keep &= np.take_along_axis(same, winner[:, None], 1) >= same - tolerance - slack
    case, loser = np.nonzero(keep)
    return Pairs(case, winner[case], loser)
