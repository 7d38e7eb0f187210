"""Preference pairs from labelled candidates: case gate and Pareto filter (Algorithm 2, specification section 6)."""

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


def shrink_to_kind(joint: np.ndarray, case_weight: float) -> np.ndarray:
    """Pulls each candidate's Joint to the mean of its kind over all cases (docs/adr/0005).

    A list of K items measures one candidate with an error of about sqrt(J(1-J)/K), so the best of many is mostly luck;
    what a kind of move does on average is known well.

    Args:
        joint: [n, p]; column j is the same kind of candidate in every case.
        case_weight: share of the case's own deviation that is kept, in [0, 1]; 1 keeps all (the paper).
    """
    kind = joint.mean(0)
    return kind + case_weight * (joint - kind)


def build_pairs(
    joint: np.ndarray, same: np.ndarray, margin: float, tolerance: float | None, served: int | None = None
) -> Pairs:
    """Pairs the best candidate of each case with the clearly worse ones.

    Algorithm 2's gate lets a case take part only if its best Joint leads the second best by `margin`. With `served`
    given, the best must lead what the policy serves today, and where it does not, the served query is the winner
    (docs/adr/0005): with many candidates the best two are always close, and a case that cannot be improved says "stay".

    A pair is kept if its gap is at least `margin` and, with a filter, the winner's Same is at least the loser's less
    `tolerance`. With both, only candidates whose Same is at least the served query's less `tolerance` can win: the
    policy must not buy attributes with pattern fidelity.

    Args:
        joint: Joint@K of each candidate [n, p].
        same: Same@K [n, p].
        margin: delta, in (0, 1).
        tolerance: epsilon of the Pareto filter; 0 is strict, None is no filter.
        served: number of the candidate that the policy serves, or None for the paper's gate.
    """
    slack = 1e-9  # shares are multiples of 1/K: a gap of exactly delta passes
    cases = np.arange(len(joint))
    eligible = np.ones_like(joint, bool)
    if served is not None and tolerance is not None:
        eligible = same >= same[:, served, None] - tolerance - slack
    winner = np.where(eligible, joint + slack * same, -np.inf).argmax(1)
    rival = np.sort(joint, 1)[:, -2] if served is None else joint[:, served]
    clear = joint[cases, winner] - rival >= margin - slack
    if served is not None:
        winner = np.where(clear, winner, served)
        clear = np.ones_like(clear)
    keep = clear[:, None] & (joint[cases, winner][:, None] - joint >= margin - slack)
    if tolerance is not None:
        keep &= same[cases, winner][:, None] >= same - tolerance - slack
    case, loser = np.nonzero(keep)
    return Pairs(case, winner[case], loser)
