"""Worked examples: held-out cases that the page *Explore* opens with. A fixed rule picks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modit.evaluate import names
from modit.evaluate.task import Row, greatest
from modit.inference.retrieval import Query
from modit.metric.cases import Cases

# Of the gain in Joint@K, over the first case of each pattern.
PERCENTILES = (25, 50, 75)
# The classical rows that the service can answer with; a reranked one is asked with the move of its first stage.
_SIMPLE = (names.FIXED_MOVE, names.LOCAL_FEEDBACK)


def worked_examples(
    rows: Mapping[str, Row[Query]],
    found: Mapping[str, np.ndarray],
    joint: Mapping[str, np.ndarray],
    cases: Cases,
    item_ids: np.ndarray,
) -> dict[str, Any]:
    """The cases at three percentiles of what is served gains over averaging, with the lists as they were judged.

    The rows beside it are averaging and the best simple row: of *Fixed move* and *Local feedback*, reranked or not, the
    one that validation prefers.

    Args:
        rows: Of the split.
        found: Row name -> its results [n, K], -1 where fewer were found.
        joint: Row name -> Joint@K of each case [n].
        cases: Of the split.
        item_ids: Of the catalogue [N].

    Returns:
        `patterns` that were chosen from, `k`, `simple_row` with its name and move, and `examples`, each with its
        `percentile`, the ids of its `seeds`, and by `average`, `simple` and `served` the ids of `lists` and `joint`.
    """
    simple = best_simple_row(rows)
    shown = {"average": names.AVERAGE, "simple": simple, "served": names.SERVED}
    chosen = cases_at_percentiles(joint[names.SERVED] - joint[names.AVERAGE], cases.patterns)
    examples = [
        {
            "percentile": percentile,
            "seeds": item_ids[cases.seeds[case][cases.seeds[case] >= 0]].tolist(),
            "lists": {key: item_ids[found[name][case][found[name][case] >= 0]].tolist() for key, name in shown.items()},
            "joint": {key: float(joint[name][case]) for key, name in shown.items()},
        }
        for percentile, case in chosen.items()
    ]
    return {
        "patterns": len(np.unique(cases.patterns)),
        "k": found[simple].shape[1],
        "simple_row": {"name": simple, "move": _move_of(rows, simple)},
        "examples": examples,
    }


def best_simple_row(rows: Mapping[str, Row[Query]]) -> str:
    """The name of the row of greatest Joint@K on validation; of equal ones the first."""
    simple = [*_SIMPLE, *(names.reranked(name) for name in _SIMPLE)]
    return greatest({name: rows[name].setting["tuned"].validation for name in simple})


def cases_at_percentiles(gain: np.ndarray, patterns: np.ndarray) -> dict[int, int]:
    """The case at each percentile of the gain, among the first case of each pattern.

    Args:
        gain: Of each case [n].
        patterns: Of each case [n].

    Returns:
        Percentile -> number of the case; of equal gains the earlier case is the lower one, and a case occurs once.
    """
    first = np.sort(np.unique(patterns, return_index=True)[1])
    ordered = first[np.argsort(gain[first], kind="stable")]
    found: dict[int, int] = {}
    for percentile in PERCENTILES:
        case = int(ordered[round(percentile / 100 * (len(ordered) - 1))])
        if case not in found.values():
            found[percentile] = case
    return found


def _move_of(rows: Mapping[str, Row[Query]], name: str) -> dict[str, Any]:
    """The move of a simple row; one that takes no evidence names none."""
    first = next(each for each in _SIMPLE if name in (each, names.reranked(each)))
    return {"evidence": "", "evidence_weight": 0.0} | dict(rows[first].setting["tuned"].setting)
