"""A few retrieved titles that a person can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modit.evaluate.seeds.context import EvaluationContext
from modit.metric.cases import Cases

_SHOWN_SEEDS, _SHOWN_RESULTS = 8, 10


def example_cases(cases: Cases, count: int) -> np.ndarray:
    """The first case of each of `count` patterns, evenly spaced by number: nobody picked them. Rows [<= count]."""
    first = np.unique(cases.patterns, return_index=True)[1]
    places = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
    return np.sort(first[places])


def titled_examples(
    context: EvaluationContext, cases: Cases, found: Mapping[str, np.ndarray], count: int = 3
) -> list[dict[str, Any]]:
    """Seeds and the top results of some rows, by title (by id where the catalogue has none).

    Args:
        context: of the domain.
        cases: of the split.
        found: row name -> rows of its results [n, K].
        count: cases shown.
    """
    chosen = example_cases(cases, count)
    found = {name: rows[chosen] for name, rows in found.items()}
    examples = []
    for place, case in enumerate(chosen):
        pattern, seeds = int(cases.patterns[case]), cases.seeds[case, : cases.lengths[case]]
        # Ascending order: the last seeds are those of highest predicted density, so show an even selection instead.
        shown = seeds[np.linspace(0, len(seeds) - 1, min(_SHOWN_SEEDS, len(seeds))).round().astype(int)]
        lists = {name: rows[place] for name, rows in found.items()}
        examples.append(
            {
                "pattern": pattern,
                "seed_count": len(seeds),
                "seeds": [_entry(context, row, pattern) for row in shown],
                "lists": {
                    name: [_entry(context, row, pattern) for row in rows[:_SHOWN_RESULTS]]
                    for name, rows in lists.items()
                },
                "joint": {name: _joint(context, rows, pattern) for name, rows in lists.items()},
            }
        )
    return examples


def _entry(context: EvaluationContext, row: int, pattern: int) -> dict[str, Any]:
    if row < 0:
        return {"title": None, "attribute": False, "pattern": False}
    names = context.catalog.item_ids if context.catalog.titles is None else context.catalog.titles
    return {
        "title": str(names[row]) or str(context.catalog.item_ids[row]),
        "attribute": bool(context.positive[row]),
        "pattern": bool(context.patterns.labels[row] == pattern),
    }


def _joint(context: EvaluationContext, rows: np.ndarray, pattern: int) -> float:
    found = rows[rows >= 0]
    return float((context.positive[found] & (context.patterns.labels[found] == pattern)).sum() / len(rows))
