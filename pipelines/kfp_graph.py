"""A pipeline in Kubeflow Pipelines' terms: a container component per step, and loops over domains and shards."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from kfp import dsl
from kfp.kubernetes import mount_pvc, use_secret_as_env

from modit.core.names import SKIPPED_NO_DATA
from modit.core.registry import Registry
from modit.core.step import Step
from pipelines.kfp_platform import DIGEST, DOMAIN, ELIGIBLE_DOMAINS, OUTCOME, RUN_PARAMETERS, SHARD, Platform

# KFP's type of each artifact; any other is a plain Artifact.
TYPES: dict[str, type[dsl.Artifact]] = {
    **dict.fromkeys(("catalog", "quarantine", "retrieval_labels", "trajectories", "cases", "features"), dsl.Dataset),
    **dict.fromkeys(("predictor", "pretrained", "continued", "finetuned", "hppo_variants", "sampler"), dsl.Model),
    **dict.fromkeys(("evaluation", "verdict"), dsl.Metrics),
    **dict.fromkeys(("validation", "report"), dsl.HTML),
}
# The rounds' outputs are numbered.
ROUND = "hppo_"
BACKOFF = {"backoff_duration": "30s", "backoff_factor": 2.0, "backoff_max_duration": "600s"}


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
    """Adds the tasks of a pipeline, while KFP calls the function that defines it.

    Attributes:
        tries_again: whether KFP tries a task that failed again.
    """

    tries_again = True

    def __init__(self, registry: Registry, platform: Platform, parameters: Mapping[str, Any]) -> None:
        """Starts without tasks.

        Args:
            registry: the steps, ordered.
            platform: what to compile for.
            parameters: those of the pipeline, which every task gets.
        """
        self.registry, self.platform, self.parameters = registry, platform, parameters

    def _shards(self, step: Step) -> list[str]:
        return step.shards(self.platform.shards)

    def _task(
        self, step: Step, name: str, axes: Mapping[str, Any], channels: Mapping[str, Any], said: Mapping[str, Any]
    ) -> dsl.PipelineTask:
        inputs = {
            key: list if isinstance(channel, dsl.Collected) else dsl.Input[artifact_type(channel.name)]
            for key, channel in channels.items()
        }
        retries = step.retries if self.tries_again else 0
        made = component(self.registry, step, name, axes, inputs, said, self.platform.image_of(step), retries)
        task = made(**self.parameters, **axes, **channels)
        configure(task, step, self.platform)
        return task


class LoopedGraph(Graph):
    """Loops over the domains that the run decides; nothing follows the first step where it finds no new data."""

    def add_tasks(self) -> None:
        """Adds all."""
        self.phases = phases(self.registry)
        self.tasks: dict[str, dsl.PipelineTask] = {}
        first, *others = self.registry.steps
        self._add(first)
        with dsl.If(self.tasks[first.name].outputs[OUTCOME] != SKIPPED_NO_DATA, name="new-data"):
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
        domains = self.tasks[deciding.name].outputs[ELIGIBLE_DOMAINS]
        with dsl.ParallelFor(domains, name=f"domains-{phase + 1}") as domain:
            for step in steps:
                self._add(step, {DOMAIN: domain})

    def _add(self, step: Step, axes: Mapping[str, Any] = MappingProxyType({})) -> None:
        shards, inputs, said = self._shards(step), self._inputs(step), self._said(step)
        if not shards:
            self.tasks[step.name] = self._task(step, step.name, axes, inputs, said)
            return
        with dsl.ParallelFor(shards, name=f"shards-{step.name.replace('_', '-')}") as shard:
            self.tasks[step.name] = self._task(step, step.name, {**axes, SHARD: shard}, inputs, said)

    def _crosses(self, name: str, reader: Step) -> bool:
        """Whether an artifact is written in a loop and read after it."""
        writer = self.registry.writer[name]
        return bool(self._shards(writer)) or (writer.per_domain and self._stage(writer) != self._stage(reader))

    def _inputs(self, step: Step) -> dict[str, Any]:
        """Artifacts; of a loop that is over the digests of all its tasks, since KFP takes no artifacts out of loops."""
        channels: dict[str, Any] = {}
        for name in step.inputs:
            outputs = self.tasks[self.registry.writer[name].name].outputs
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
    """A task for each domain and shard and no control flow, of which `kfp.local` can do too little."""

    tries_again = False

    def add_tasks(self, domains: Sequence[str]) -> None:
        """Adds all, for these domains."""
        self.domains = domains
        self.tasks: dict[tuple[str, str | None], list[dsl.PipelineTask]] = defaultdict(list)
        for step in self.registry.steps:
            for domain in domains if step.per_domain else (None,):
                for shard in self._shards(step) or (None,):
                    self._add(step, domain, shard)

    def _add(self, step: Step, domain: str | None, shard: str | None) -> None:
        # Components of one name would share a folder when they run locally.
        name = "_".join(filter(None, (step.name, domain, shard and shard.replace("/", "_of_"))))
        axes = {key: value for key, value in ((DOMAIN, domain), (SHARD, shard)) if value}
        self.tasks[step.name, domain].append(self._task(step, name, axes, self._inputs(step, domain), {}))

    def _inputs(self, step: Step, domain: str | None) -> dict[str, Any]:
        """Artifacts of the same domain; of each domain where all are read, and of each shard."""
        channels: dict[str, Any] = {}
        for name in step.inputs:
            writer = self.registry.writer[name]
            of_all = writer.per_domain and not step.per_domain
            of = self.domains if of_all else [domain if writer.per_domain else None]
            found = [task.outputs[name] for each in of for task in self.tasks[writer.name, each]]
            names = [name] if len(found) == 1 and not of_all else [f"{name}_{n}" for n in range(1, len(found) + 1)]
            channels |= dict(zip(names, found, strict=True))
        return channels


def artifact_type(name: str) -> type[dsl.Artifact]:
    """KFP's type of an artifact."""
    return TYPES.get(name, dsl.Model if name.startswith(ROUND) else dsl.Artifact)


def component(
    registry: Registry,
    step: Step,
    name: str,
    axes: Iterable[str],
    inputs: Mapping[str, Any],
    said: Mapping[str, Any],
    image: str,
    retries: int,
) -> Any:
    """Returns the component of a step.

    Args:
        registry: the steps of the pipeline.
        step: the declaration.
        name: of the component.
        axes: names of the parameters that its tasks differ in.
        inputs: the annotation of each input.
        said: the annotation of each output parameter.
        image: reference of the image that runs it.
        retries: how often a task is tried again before its domain is left out.
    """
    parameters = {**RUN_PARAMETERS, **dict.fromkeys(axes, str)}
    outputs = {output: dsl.Output[artifact_type(output)] for output in step.outputs}
    annotations = {**parameters, **inputs, **outputs, **said}

    def container(**channels: Any) -> dsl.ContainerSpec:
        references = [part for output in step.outputs for part in ("--reference", output, channels[output].path)]
        module = ["python", "-m", "pipelines.kfp_task", step.name]
        timeout = ["--timeout-minutes", f"{step.timeout_minutes:g}", "--pipeline", registry.pipeline().name]
        again = ["--retries", str(retries)] if step.per_domain else []
        last = ["--last"] if step.name in registry.last_steps else []
        executor_input = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER
        return dsl.ContainerSpec(
            image=image, command=module, args=[*timeout, *again, *last, "--executor-input", executor_input, *references]
        )

    return dsl.container_component(_with_signature(container, name, annotations))


def configure(task: dsl.PipelineTask, step: Step, platform: Platform) -> None:
    """Sets what a task of the step needs. KFP's own cache is off: the step looks at its digests itself."""
    task.set_caching_options(False)
    task.set_cpu_limit(f"{step.resources.cpus:g}")
    task.set_memory_limit(f"{step.resources.memory_gb:g}Gi")
    if step.resources.gpus and platform.accelerator:
        task.set_accelerator_type(platform.accelerator)
        task.set_accelerator_limit(step.resources.gpus)
    for name, value in platform.environment_of(step).items():
        task.set_env_variable(name, value)
    for secret, keys in platform.secrets_of(step).items():
        use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    for claim, path in platform.claims.items():
        mount_pvc(task, claim, path)
    # A task of a domain has one attempt more, which leaves the domain out where all others were killed.
    if retries := step.retries + step.per_domain:
        task.set_retry(retries, **BACKOFF)


def _with_signature(function: Any, name: str, annotations: Mapping[str, Any]) -> Any:
    """KFP reads a component's interface from its function's signature."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(key, keyword, annotation=found) for key, found in annotations.items()]

    def positional(*values: Any) -> dsl.ContainerSpec:
        return function(**dict(zip(annotations, values, strict=True)))

    positional.__name__ = name
    positional.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return positional
