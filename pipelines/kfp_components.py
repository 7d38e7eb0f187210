"""A step's declaration as a container component of Kubeflow Pipelines: types, image, resources, retries."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from kfp import dsl
from kfp.kubernetes import mount_pvc, use_secret_as_env

from modit.core.step import Step
from pipelines.kfp_contract import RUN_PARAMETERS
from pipelines.kfp_platform import Platform

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


def artifact_type(name: str) -> type[dsl.Artifact]:
    """KFP's type of an artifact."""
    return TYPES.get(name, dsl.Model if name.startswith(ROUND) else dsl.Artifact)


def component(
    step: Step, name: str, axes: Iterable[str], inputs: Mapping[str, Any], said: Mapping[str, Any], image: str
) -> Any:
    """The component of a step.

    Args:
        step: the declaration.
        name: of the component.
        axes: names of the parameters that its tasks differ in.
        inputs: the annotation of each input.
        said: the annotation of each output parameter.
        image: reference of the image that runs it.
    """
    parameters = {**RUN_PARAMETERS, **dict.fromkeys(axes, str)}
    outputs = {output: dsl.Output[artifact_type(output)] for output in step.outputs}
    annotations = {**parameters, **inputs, **outputs, **said}

    def container(**channels: Any) -> dsl.ContainerSpec:
        references = [part for output in step.outputs for part in ("--reference", output, channels[output].path)]
        module = ["python", "-m", "pipelines.kfp_task", step.name]
        timeout = ["--timeout-minutes", f"{step.timeout_minutes:g}"]
        executor_input = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER
        return dsl.ContainerSpec(
            image=image, command=module, args=[*timeout, "--executor-input", executor_input, *references]
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
    if step.retries:
        task.set_retry(step.retries, **BACKOFF)


def _with_signature(function: Any, name: str, annotations: Mapping[str, Any]) -> Any:
    """KFP reads a component's interface from its function's signature."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(key, keyword, annotation=found) for key, found in annotations.items()]

    def positional(*values: Any) -> dsl.ContainerSpec:
        return function(**dict(zip(annotations, values, strict=True)))

    positional.__name__ = name
    positional.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return positional
