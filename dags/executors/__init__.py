"""Where a step's task runs: a process, a Docker container, a Kubernetes pod or several; chosen by MODIT_EXECUTOR."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from dags.executors.step_task import Command
from modit.core.step import Step

# Name of a step's image; `{image}` is the kind that the declaration names.
IMAGES = os.environ.get("MODIT_IMAGES", "modit/{image}:dev")
# Whether steps that can use accelerators get them: "1" where there are some.
GPUS = os.environ.get("MODIT_GPUS") == "1"
# Machines of a step that trains, and accelerators of each, where not as its declaration says.
TRAIN_NODES = os.environ.get("MODIT_TRAIN_NODES")
TRAIN_GPUS = os.environ.get("MODIT_TRAIN_GPUS")
# Factor on every step's timeout: a slower machine or a larger preset than the declarations have in mind.
TIMEOUT_SCALE = float(os.environ.get("MODIT_TIMEOUT_SCALE", "1"))
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


def command_operator(executor: str) -> Any:
    """The operator class that runs `modit COMMAND` on an executor.

    Raises:
        ValueError: there is no such executor.
    """
    return _module(executor).COMMAND_OPERATOR


def _module(executor: str) -> Any:
    if executor not in EXECUTORS:
        raise ValueError(f"MODIT_EXECUTOR is {executor!r}; allowed: {', '.join(EXECUTORS)}")
    return importlib.import_module(f"dags.executors.{EXECUTORS[executor]}")


def image_of(step: Step | Command, pattern: str) -> str:
    """Name of a step's image.

    Args:
        step: the step, or a command.
        pattern: such as `modit/{image}:dev`.
    """
    return pattern.format(image=step.image)


def from_json(name: str, kind: type[dict] | type[list]) -> Any:
    """A variable that holds a JSON object or list; an empty one where it is not set.

    Raises:
        ValueError: it holds something else.
    """
    text = os.environ.get(name) or json.dumps(kind())
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        allowed = "a JSON object" if kind is dict else "a JSON list"
        raise ValueError(f"{name} is {text!r}; allowed: {allowed}")
    return value


def team_of(step: Step) -> tuple[int, int]:
    """Machines that a task of the step takes, and accelerators of each; only what can use those is spread out."""
    if not step.resources.gpus:
        return 1, 0
    return int(TRAIN_NODES or step.resources.nodes), int(TRAIN_GPUS or step.resources.gpus) if GPUS else 0
