"""Tuning of the classical rows: by mean Joint@K on validation cases, searched without the test items."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modit.evaluate.baselines import FIXED, TUNED
from modit.evaluate.world import World, validation_joint
from modit.metric.cases import Cases


@dataclass(frozen=True)
class Tuned:
    """What validation says of a classical row.

    Attributes:
        validation_joint: mean Joint@K on the validation cases, at the chosen value.
        value: the chosen value; None for a row without one.
        grid: values tried, ascending.
        grid_joint: mean Joint@K of each.
    """

    validation_joint: float
    value: float | None = None
    grid: tuple[float, ...] = ()
    grid_joint: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The fields, and whether the choice sits at an end of the grid."""
        return asdict(self) | {"at_edge": self.value is not None and self.value in (self.grid[0], self.grid[-1])}


def tune_classical_rows(world: World, cases: Cases) -> dict[str, Tuned]:
    """Chooses the free number of each classical row.

    Args:
        world: of the domain.
        cases: validation cases of the matching kind, at least one.

    Returns:
        Row name -> choice; equal figures go to the smaller value.
    """
    context = world.baseline_context
    chosen = {name: Tuned(validation_joint(world, cases, build(context, cases))) for name, build in FIXED.items()}
    for name, (build, grid) in TUNED.items():
        figures = tuple(validation_joint(world, cases, build(context, cases, value)) for value in grid)
        best = int(np.argmax(figures))
        chosen[name] = Tuned(figures[best], grid[best], grid, figures)
    return chosen


def classical_queries(world: World, cases: Cases, tuned: dict[str, Tuned]) -> dict[str, np.ndarray]:
    """Queries of every classical row at its chosen value, name -> unit [n, d]."""
    context = world.baseline_context
    queries = {name: build(context, cases) for name, build in FIXED.items()}
    for name, (build, _) in TUNED.items():
        value = tuned[name].value
        if value is None:
            raise ValueError(f"row {name!r} was not tuned")
        queries[name] = build(context, cases, value)
    return queries
