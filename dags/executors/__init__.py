"""Where a step's task runs: a process, a Docker container or a Kubernetes pod; chosen by MODIT_EXECUTOR."""

from __future__ import annotations

import importlib
from typing import Any

from modit.core.step import Step

# Name -> module of its operator, which is imported only when it is chosen: providers of the others may be missing.
EXECUTORS = {"process": "process", "docker": "docker", "kubernetes": "kubernetes"}


def operator_of(executor: str) -> Any:
    """The operator class of an executor.

    Raises:
        ValueError: there is no such executor.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"MODIT_EXECUTOR is {executor!r}; allowed: {', '.join(EXECUTORS)}")
    return importlib.import_module(f"dags.executors.{EXECUTORS[executor]}").OPERATOR


def image_of(step: Step, pattern: str) -> str:
    """Name of a step's image.

    Args:
        step: the step.
        pattern: such as `modit/{image}:dev`.
    """
    return pattern.format(image=step.image)
