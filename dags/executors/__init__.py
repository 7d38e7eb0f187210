"""Where a step's task runs: a process, a Docker container, a Kubernetes pod or several; chosen by MODIT_EXECUTOR."""

from __future__ import annotations

import importlib
from typing import Any

from dags.executors.settings import team_of
from dags.executors.step_task import Verb
from modit.core.step import Step

# Name -> module of its operator, which is imported only when it is chosen: providers of the others may be missing.
EXECUTORS = {"process": "process", "docker": "docker", "kubernetes": "kubernetes"}


def operator_of(executor: str, step: Step) -> Any:
    """The operator class that runs a step on an executor.

    Raises:
        ValueError: there is no such executor.
    """
    module = _module(executor)
    nodes, gpus = team_of(step)
    if executor == "kubernetes" and max(nodes, gpus) > 1:
        module = importlib.import_module("dags.executors.trainjob")
    return module.OPERATOR


def verb_operator(executor: str) -> Any:
    """The operator class that runs `modit VERB` on an executor.

    Raises:
        ValueError: there is no such executor.
    """
    return _module(executor).VERB_OPERATOR


def _module(executor: str) -> Any:
    if executor not in EXECUTORS:
        raise ValueError(f"MODIT_EXECUTOR is {executor!r}; allowed: {', '.join(EXECUTORS)}")
    return importlib.import_module(f"dags.executors.{EXECUTORS[executor]}")


def image_of(step: Step | Verb, pattern: str) -> str:
    """Name of a step's image.

    Args:
        step: the step, or a verb.
        pattern: such as `modit/{image}:dev`.
    """
    return pattern.format(image=step.image)
