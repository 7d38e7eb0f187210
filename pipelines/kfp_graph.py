"""The steps' graph in Kubeflow Pipelines' terms: a task a step, in loops over the domains where it runs per domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from kfp import dsl

from modit.core.registry import Registry
from modit.core.step import Step
from pipelines.kfp_components import artifact_type, component, configure
from pipelines.kfp_contract import DIGEST, DOMAIN, ELIGIBLE_DOMAINS, OUTCOME, SKIPPED_NO_DATA
from pipelines.kfp_platform import Platform


def phases(registry: Registry) -> dict[str, int]:
    """How many loops over the domains must be over before each step: those of which it reads all domains.

    Args:
        registry: the steps, ordered.
    """
    found: dict[str, int] = {}
    for step in registry.steps:
        writers = [registry.writer[name] for name in step.inputs]
        found[step.name] = max(
            (found[writer.name] + (writer.per_domain and not step.per_domain) for writer in writers), default=0
        )
    return found


class Graph:
    """Adds the tasks of a pipeline, while KFP calls the function that defines it."""

    def __init__(self, registry: Registry, platform: Platform, parameters: Mapping[str, Any]) -> None:
        """Starts without tasks.

        Args:
            registry: the steps, ordered.
            platform: what to compile for.
            parameters: those of the pipeline, which every task gets.
        """
        self.registry, self.platform, self.parameters = registry, platform, parameters
        self.tasks: dict[tuple[str, str | None], dsl.PipelineTask] = {}

    def _task(
        self, step: Step, name: str, domain: Any, channels: Mapping[str, Any], said: Mapping[str, Any]
    ) -> dsl.PipelineTask:
        parameters = {**self.parameters, **({DOMAIN: domain} if step.per_domain else {})}
        inputs = {
            key: list if isinstance(channel, dsl.Collected) else dsl.Input[artifact_type(channel.name)]
            for key, channel in channels.items()
        }
        made = component(step, name, inputs, said, self.platform.image_of(step))
        task = made(**parameters, **channels)
        configure(task, step, self.platform)
        return task


class LoopedGraph(Graph):
    """Loops over the domains that the run decides; nothing follows the first step where it finds no new data."""

    def add_tasks(self) -> None:
        """Adds all."""
        self.phases = phases(self.registry)
        first, *others = self.registry.steps
        self._add(first)
        with dsl.If(self.tasks[first.name, None].outputs[OUTCOME] != SKIPPED_NO_DATA, name="new-data"):
            for (phase, per_domain), steps in groupby(sorted(others, key=self._stage), key=self._stage):
                if per_domain:
                    self._add_loop(phase, list(steps))
                else:
                    for step in steps:
                        self._add(step)

    def _stage(self, step: Step) -> tuple[int, bool]:
        return self.phases[step.name], step.per_domain

    def _add_loop(self, phase: int, steps: Sequence[Step]) -> None:
        deciding = self.registry.domain_step
        assert deciding is not None  # the registry refuses steps per domain without
        domains = self.tasks[deciding.name, None].outputs[ELIGIBLE_DOMAINS]
        with dsl.ParallelFor(domains, name=f"domains-{phase + 1}") as domain:
            for step in steps:
                self._add(step, domain)

    def _add(self, step: Step, domain: Any = None) -> None:
        self.tasks[step.name, None] = self._task(step, step.name, domain, self._inputs(step), self._said(step))

    def _crosses(self, name: str, reader: Step) -> bool:
        """Whether an artifact is written in a loop and read after it."""
        writer = self.registry.writer[name]
        return writer.per_domain and self._stage(writer) != self._stage(reader)

    def _inputs(self, step: Step) -> dict[str, Any]:
        """Artifacts; of an earlier loop the digests of all domains, since KFP takes no artifacts from loop to loop."""
        channels: dict[str, Any] = {}
        for name in step.inputs:
            outputs = self.tasks[self.registry.writer[name].name, None].outputs
            if self._crosses(name, step):
                digest = DIGEST.format(artifact=name)
                channels[f"{digest}s"] = dsl.Collected(outputs[digest])
            else:
                channels[name] = outputs[name]
        return channels

    def _said(self, step: Step) -> dict[str, Any]:
        crossing = {name for reader in self.registry.steps for name in reader.inputs if self._crosses(name, reader)}
        digests = {DIGEST.format(artifact=name): dsl.OutputPath(str) for name in step.outputs if name in crossing}
        domains = {ELIGIBLE_DOMAINS: dsl.OutputPath(list)} if step.decides_domains else {}
        outcome = {OUTCOME: dsl.OutputPath(str)} if step is self.registry.steps[0] else {}
        return digests | domains | outcome


class UnrolledGraph(Graph):
    """A task for each domain and no control flow, of which `kfp.local` can do too little."""

    def add_tasks(self, domains: Sequence[str]) -> None:
        """Adds all, for these domains."""
        for step in self.registry.steps:
            for domain in domains if step.per_domain else (None,):
                # Components of one name would share a folder when they run locally.
                name = f"{step.name}_{domain}" if domain else step.name
                channels = self._inputs(step, domain, domains)
                self.tasks[step.name, domain] = self._task(step, name, domain, channels, {})

    def _inputs(self, step: Step, domain: str | None, domains: Sequence[str]) -> dict[str, Any]:
        """Artifacts of the same domain; of each domain where all are read."""
        channels: dict[str, Any] = {}
        for name in step.inputs:
            writer = self.registry.writer[name]
            if writer.per_domain and not step.per_domain:
                for number, each in enumerate(domains, start=1):
                    channels[f"{name}_{number}"] = self.tasks[writer.name, each].outputs[name]
            else:
                channels[name] = self.tasks[writer.name, domain if writer.per_domain else None].outputs[name]
        return channels
