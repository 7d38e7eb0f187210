"""The graph that follows from the declarations: edges by artifact name, and an order to run in. Stdlib only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from modit.core.errors import GraphError
from modit.core.step import Step

Edge = tuple[str, str]


def producers(steps: Iterable[Step]) -> dict[str, Step]:
    """The step that writes each artifact.

    Raises:
        GraphError: two steps bear one name, or an artifact has two writers.
    """
    steps = list(steps)
    repeated = [name for name, count in Counter(step.name for step in steps).items() if count > 1]
    if repeated:
        raise GraphError(f"steps declared twice: {', '.join(sorted(repeated))}")
    found: dict[str, Step] = {}
    for step in steps:
        for output in step.outputs:
            if output in found:
                raise GraphError(f"artifact {output!r} is written by {found[output].name!r} and by {step.name!r}")
            found[output] = step
    return found


def resolve_edges(steps: Iterable[Step]) -> set[Edge]:
    """The pairs (earlier step, later step) that follow from the artifacts' names.

    Raises:
        GraphError: an input that no step writes, an artifact or step declared twice, or a cycle.
    """
    steps = list(steps)
    writer = producers(steps)
    edges: set[Edge] = set()
    for step in steps:
        for name in step.inputs:
            if name not in writer:
                raise GraphError(f"step {step.name!r} reads {name!r}, which no step writes; known: {sorted(writer)}")
            edges.add((writer[name].name, step.name))
    _sort(steps, edges)
    return edges


def topological_order(steps: Iterable[Step]) -> list[Step]:
    """The steps, each after all that it reads from.

    Raises:
        GraphError: as `resolve_edges`.
    """
    steps = list(steps)
    by_name = {step.name: step for step in steps}
    return [by_name[name] for name in _sort(steps, resolve_edges(steps))]


def _sort(steps: list[Step], edges: set[Edge]) -> list[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter({step.name: [] for step in steps})
    for earlier, later in sorted(edges):
        sorter.add(later, earlier)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise GraphError(f"the steps form a cycle: {' -> '.join(error.args[1])}") from error
