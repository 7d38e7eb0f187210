"""Rows of the table and paired comparisons between them, each with its intervals, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.world import CaseScores

Json = dict[str, Any]


def table_row(name: str, kind: str, scores: CaseScores, patterns: np.ndarray, seed: int, resamples: int) -> Json:
    """A row of the main table. Cond@K is the mean over cases with at least one result that has the attribute."""
    judged = ~np.isnan(scores.cond)
    return {
        "name": name,
        "kind": kind,
        "auc": float(scores.auc.mean()),
        "attr": float(scores.attr.mean()),
        "same": float(scores.same.mean()),
        "joint": float(scores.joint.mean()),
        "cond": float(scores.cond[judged].mean()) if judged.any() else None,
        "cond_cases": int(judged.sum()),
        "joint_interval": paired_interval(scores.joint, patterns, seed, resamples),
        "same_interval": paired_interval(scores.same, patterns, seed, resamples),
    }


def compare(
    name: str,
    pair: tuple[str, str],
    scores: Mapping[str, CaseScores],
    patterns: np.ndarray,
    seed: int,
    resamples: int,
) -> Json:
    """The paired difference `pair[0] - pair[1]` of Joint@K and Same@K.

    Args:
        name: of the comparison, the same in every domain.
        pair: the two rows.
        scores: of every row, on the same cases.
        patterns: of each case [n].
        seed: of the resampling.
        resamples: B.
    """
    row, against = scores[pair[0]], scores[pair[1]]
    return {
        "name": name,
        "row": pair[0],
        "against": pair[1],
        "joint": paired_interval(row.joint - against.joint, patterns, seed, resamples),
        "same": paired_interval(row.same - against.same, patterns, seed, resamples),
    }


def figures_beside(row: CaseScores, against: CaseScores, patterns: np.ndarray, seed: int, resamples: int) -> Json:
    """Joint@K and Same@K of a row that stands in no table, and its paired difference to another; as `compare`."""
    return {
        "joint": float(row.joint.mean()),
        "same": float(row.same.mean()),
        "difference": {
            "joint": paired_interval(row.joint - against.joint, patterns, seed, resamples),
            "same": paired_interval(row.same - against.same, patterns, seed, resamples),
        },
    }


def best_row(figures: Mapping[str, float]) -> str:
    """The row of greatest figure, the first of equals."""
    return max(figures, key=lambda name: figures[name])


def planned_pairs(
    classical: Sequence[str], others: Sequence[str], best_on_test: str, best_on_validation: str
) -> list[tuple[str, tuple[str, str]]]:
    """The comparisons of the protocol: (name, (row, against)). HPPO against each of `others` comes last.

    "HPPO - best classical" is against the row that is best on the test cases themselves: harder than any honest choice.
    """
    pairs = [
        ("HPPO - MO-DiT", ("HPPO", "MO-DiT")),
        ("MO-DiT - Pre. GR", ("MO-DiT", "Pre. GR")),
        ("HPPO - best classical", ("HPPO", best_on_test)),
        ("HPPO - best classical by validation", ("HPPO", best_on_validation)),
    ]
    return pairs + [(f"HPPO - {name}", ("HPPO", name)) for name in [*classical, *others]]
