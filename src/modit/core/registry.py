"""The graph of the declared steps, the pipelines in it, and how declarations are found. Standard library only."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError, GraphError
from modit.core.step import Step

if TYPE_CHECKING:
    from modit.core.params import RunParams

Edge = tuple[str, str]
# What the step that decides the domains writes into its first output.
DOMAINS_FILE = "domains.json"


@dataclass(frozen=True)
class Pipeline:
    """The steps that some artifacts need: the steps that write them, and all that those read, directly or not.

    Attributes:
        name: of the pipeline, such as `retrain`.
        ends: names of the artifacts that a run of it is for.
        description: what it does, in one sentence.
        nightly: whether a scheduler starts it every night.
    """

    name: str
    ends: tuple[str, ...]
    description: str
    nightly: bool = False

    @property
    def job(self) -> str:
        """Name under which a scheduler lists it, such as `nightly_retrain`."""
        return f"nightly_{self.name}" if self.nightly else self.name


@dataclass(frozen=True)
class Registry:
    """The steps of a package, and where their code lives.

    Attributes:
        package: name of the package, such as `components`.
        params_module: name of the module whose `load_params(path, preset, overrides)` reads params.yaml.
        modules: module of each step's declaration, by the step's name.
        steps: the steps in an order in which they can run.
        pipelines: the pipelines of these steps; the first is the default.
    """

    package: str
    params_module: str
    modules: dict[str, str]
    steps: tuple[Step, ...]
    pipelines: tuple[Pipeline, ...] = ()

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
    def last_steps(self) -> tuple[str, ...]:
        """Names of the steps that no other step waits for."""
        earlier = {name for name, _ in self.edges}
        return tuple(step.name for step in self.steps if step.name not in earlier)

    @cached_property
    def domain_step(self) -> Step | None:
        """The step that decides which domains are eligible; None if no step runs per domain."""
        return next((step for step in self.steps if step.decides_domains), None)

    def get(self, name: str) -> Step:
        """Returns the step of this name; GraphError with the known names if there is none."""
        if name not in self.by_name:
            raise GraphError(f"no step {name!r}; known: {', '.join(self.by_name)}")
        return self.by_name[name]

    def pipeline(self, name: str | None = None) -> Pipeline:
        """Returns the pipeline of this name, or the default one; ConfigError with the known names if there is none."""
        found = [each for each in self.pipelines if name in (None, each.name)]
        if not found:
            known = ", ".join(each.name for each in self.pipelines)
            raise ConfigError(f"no pipeline {name!r}; allowed: {known or 'none is declared'}")
        return found[0]

    def of(self, pipeline: str | None = None) -> Registry:
        """Returns the registry of the steps that one pipeline (None: the default) needs, and no others.

        Raises:
            ConfigError: there is no such pipeline.
            GraphError: no step writes an artifact that the pipeline ends with.
        """
        chosen = self.pipeline(pipeline)
        needed = self.upstream(chosen.ends)
        return replace(self, steps=tuple(step for step in self.steps if step.name in needed), pipelines=(chosen,))

    def of_all(self, pipelines: Iterable[str]) -> Registry:
        """Returns the registry of the steps that some pipelines need, and no others.

        Raises:
            ConfigError: there is no such pipeline.
        """
        chosen = tuple(self.pipeline(name) for name in pipelines)
        needed = self.upstream(end for each in chosen for end in each.ends)
        return replace(self, steps=tuple(step for step in self.steps if step.name in needed), pipelines=chosen)

    def needs_domains(self, pipeline: str | None = None) -> bool:
        """Whether a step of a pipeline (None: the default) runs for each domain, so that the catalogue must have some.

        Raises:
            ConfigError: there is no such pipeline.
        """
        return not self.pipelines or self.of(pipeline).domain_step is not None

    def upstream(self, artifacts: Iterable[str]) -> set[str]:
        """Returns the names of the steps that write some artifacts, or what those are made from.

        Raises:
            GraphError: no step writes one of them.
        """
        found: set[str] = set()
        waiting = list(artifacts)
        while waiting:
            name = waiting.pop()
            if name not in self.writer:
                raise GraphError(f"no step writes {name!r}; known: {', '.join(sorted(self.writer))}")
            step = self.writer[name]
            if step.name in found:
                continue
            found.add(step.name)
            waiting.extend(step.inputs)
            if step.per_domain and self.domain_step:
                waiting.append(self.domain_step.outputs[0])  # it runs for the domains that this step decides
        return found

    def run_module(self, step: Step) -> str:
        """Name of the module that holds the step's `run`."""
        return f"{self.modules[step.name]}.run"

    def load_run(self, step: Step) -> Callable[[Any], dict[str, object] | None]:
        """Imports the step's `run`; this is where heavy libraries are imported."""
        return importlib.import_module(self.run_module(step)).run

    def load_params(self, path: Path, preset: str, overrides: dict[str, Any]) -> RunParams:
        """Reads the parameters of all steps, with the preset and the overrides (nested or dotted) over the file.

        Raises:
            ConfigError: the file, the preset or a value is not allowed.
        """
        return importlib.import_module(self.params_module).load_params(path, preset, overrides)


def discover(package: str, params_module: str, pipelines: tuple[Pipeline, ...] = ()) -> Registry:
    """Collects `STEP` or `STEPS` of every sub-package.

    Args:
        package: name of an importable package.
        params_module: name of the module whose `load_params(path, preset, overrides)` reads the steps' parameters.
        pipelines: of these steps; the first is the default.

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
    return Registry(package, params_module, modules, tuple(ordered), pipelines)


def producers(steps: Iterable[Step]) -> dict[str, Step]:
    """Returns the step that writes each artifact; GraphError if a step or an artifact is declared twice."""
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
    """Returns the pairs (earlier step, later step) that follow from the artifacts' names.

    Raises:
        GraphError: an input that no step writes, or an artifact or step declared twice.
    """
    steps = list(steps)
    writer = producers(steps)
    edges: set[Edge] = set()
    for step in steps:
        for name in step.inputs:
            if name not in writer:
                raise GraphError(f"step {step.name!r} reads {name!r}, which no step writes; known: {sorted(writer)}")
            edges.add((writer[name].name, step.name))
    return edges


def topological_order(steps: Iterable[Step]) -> list[Step]:
    """Returns the steps, each after all that it reads from.

    Raises:
        GraphError: a cycle, or as `resolve_edges`.
    """
    steps = list(steps)
    by_name = {step.name: step for step in steps}
    sorter: TopologicalSorter[str] = TopologicalSorter({name: [] for name in by_name})
    for earlier, later in sorted(resolve_edges(steps)):
        sorter.add(later, earlier)
    try:
        return [by_name[name] for name in sorter.static_order()]
    except CycleError as error:
        raise GraphError(f"the steps form a cycle: {' -> '.join(error.args[1])}") from error
