"""A few retrieved titles that a person can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modit.evaluate.world import World, retrieve
from modit.metric.cases import Cases

_SHOWN_SEEDS, _SHOWN_RESULTS = 8, 10


def example_cases(cases: Cases, count: int) -> np.ndarray:
    """The first case of each of `count` patterns, evenly spaced by number: nobody picked them. Rows [<= count]."""
    first = np.unique(cases.patterns, return_index=True)[1]
    places = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
    return np.sort(first[places])


def titled_examples(
    world: World, cases: Cases, queries: Mapping[str, np.ndarray], count: int = 3
) -> list[dict[str, Any]]:
    """Seeds and the top results of some rows, by title (by id where the catalogue has none).

    Args:
        world: of the domain.
        cases: of the split.
        queries: row name -> unit [n, d].
        count: cases shown.
    """
    chosen = example_cases(cases, count)
    found = {name: retrieve(world, cases, value)[chosen] for name, value in queries.items()}
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
                "seeds": [_entry(world, row, pattern) for row in shown],
                "lists": {
                    name: [_entry(world, row, pattern) for row in rows[:_SHOWN_RESULTS]] for name, rows in lists.items()
                },
                "joint": {name: _joint(world, rows, pattern) for name, rows in lists.items()},
            }
        )
    return examples


def _entry(world: World, row: int, pattern: int) -> dict[str, Any]:
    if row < 0:
        return {"title": None, "attribute": False, "pattern": False}
    names = world.catalog.item_ids if world.catalog.titles is None else world.catalog.titles
    return {
        "title": str(names[row]) or str(world.catalog.item_ids[row]),
        "attribute": bool(world.positive[row]),
        "pattern": bool(world.patterns.labels[row] == pattern),
    }


def _joint(world: World, rows: np.ndarray, pattern: int) -> float:
    found = rows[rows >= 0]
    return float((world.positive[found] & (world.patterns.labels[found] == pattern)).sum() / len(rows))
