"""Where a step's task runs: a process, a Docker container, a Kubernetes pod or several; chosen by MODIT_EXECUTOR."""

from __future__ import annotations

import importlib
from typing import Any

from dags.executors.settings import team_of
from modit.core.step import Step

# Name -> module of its operator, which is imported only when it is chosen: providers of the others may be missing.
EXECUTORS = {"process": "process", "docker": "docker", "kubernetes": "kubernetes"}


def operator_of(executor: str, step: Step) -> Any:
    """The operator class that runs a step on an executor.

    Raises:
        ValueError: there is no such executor.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"MODIT_EXECUTOR is {executor!r}; allowed: {', '.join(EXECUTORS)}")
    nodes, gpus = team_of(step)
    module = "trainjob" if executor == "kubernetes" and max(nodes, gpus) > 1 else EXECUTORS[executor]
    return importlib.import_module(f"dags.executors.{module}").OPERATOR


def image_of(step: Step, pattern: str) -> str:
    """Name of a step's image.

    Args:
        step: the step.
        pattern: such as `modit/{image}:dev`.
    """
    return pattern.format(image=step.image)
