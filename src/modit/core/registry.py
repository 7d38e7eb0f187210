"""The graph of the declared steps, and how the declarations of a package are found. Standard library only."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


if TYPE_CHECKING:
    from modit.core.params import RunParams


@dataclass(frozen=True)
class Registry:
    """The steps of a package, and where their code lives.

    Attributes:
        package: name of the package, such as `components`.
        modules: module of each step's declaration, by the step's name.
        params_module: name of the module whose `load_params` reads params.yaml.
        steps: the steps in an order in which they can run.
    """

    package: str
    params_module: str
    modules: dict[str, str]
    steps: tuple[Step, ...]

    @cached_property
    def by_name(self) -> dict[str, Step]:
        """The steps by name."""
        return {step.name: step for step in self.steps}

    @cached_property
    def writer(self) -> dict[str, Step]:
        """The step that writes each artifact."""
        return producers(self.steps)

    @cached_property
    def edges(self) -> set[Edge]:
        """The pairs (earlier step, later step)."""
        return resolve_edges(self.steps)

    @cached_property
    def domain_step(self) -> Step | None:
        """The step that decides which domains are eligible; None if no step runs per domain."""
        return next((step for step in self.steps if step.decides_domains), None)

    def get(self, name: str) -> Step:
        """The step of this name.

        Raises:
            GraphError: there is none; the message lists those that exist.
        """
        if name not in self.by_name:
            raise GraphError(f"no step {name!r}; known: {', '.join(self.by_name)}")
        return self.by_name[name]

    def run_module(self, step: Step) -> str:
        """Name of the module that holds the step's `run`."""
        return f"{self.modules[step.name]}.run"

    def load_run(self, step: Step) -> Callable[[Any], dict[str, object] | None]:
        """Imports the step's `run`; this is where heavy libraries come in."""
        return importlib.import_module(self.run_module(step)).run

    def load_params(self, path: Path, preset: str, overrides: dict[str, Any]) -> RunParams:
        """Reads the parameters of all steps.

        Args:
            path: params.yaml.
            preset: size preset of that file.
            overrides: over the preset, nested or dotted.

        Raises:
            ConfigError: the file, the preset or a value is not allowed.
        """
        return importlib.import_module(self.params_module).load_params(path, preset, overrides)


def discover(package: str, params_module: str) -> Registry:
    """Collects `STEP` or `STEPS` of every sub-package.

    Args:
        package: name of an importable package.
        params_module: name of the module whose `load_params(path, preset, overrides)` reads the steps' parameters.

    Returns:
        All its steps, ordered.

    Raises:
        GraphError: the declarations do not fit together, or not exactly one step decides the domains.
    """
    steps: list[Step] = []
    modules: dict[str, str] = {}
    root = importlib.import_module(package)
    for found in sorted(pkgutil.iter_modules(root.__path__), key=lambda module: module.name):
        if not found.ispkg:
            continue
        module = importlib.import_module(f"{package}.{found.name}")
        declared = module.STEPS if hasattr(module, "STEPS") else (module.STEP,)
        steps.extend(declared)
        modules.update({step.name: module.__name__ for step in declared})
    ordered = topological_order(steps)
    deciding = [step.name for step in ordered if step.decides_domains]
    if len(deciding) > 1 or (not deciding and any(step.per_domain for step in ordered)):
        raise GraphError(f"exactly one step decides the domains; declared: {deciding}")
    return Registry(package=package, params_module=params_module, modules=modules, steps=tuple(ordered))
