"""The steps as tasks of a DAG, built from their declarations: one each, mapped over domains and shards."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import TaskGroup

REPOSITORY = Path(__file__).resolve().parent.parent
# `modit` may be installed or lie in src.
if str(REPOSITORY / "src") not in sys.path:
    sys.path.append(str(REPOSITORY / "src"))

from components.registry import REGISTRY  # noqa: E402
from dags.executors import operator_of  # noqa: E402
from dags.executors.settings import TIMEOUT_SCALE  # noqa: E402
from dags.executors.step_task import RETRY_POLICY  # noqa: E402
from dags.notices import FailureNotice  # noqa: E402
from modit.core.step import Step  # noqa: E402

EXECUTOR = os.environ.get("MODIT_EXECUTOR", "process")
RETRIES_MAX = int(os.environ.get("MODIT_RETRIES_MAX", "5"))
# How many tasks share the items of a step that is sharded; for each domain, where it runs per domain.
SHARDS = int(os.environ.get("MODIT_SHARDS", "1"))


def add_steps(run_uri: str, conf: str) -> dict[str, Any]:
    """Adds the task of every step to the DAG that is being defined.

    Args:
        run_uri: the run's folder (a template).
        conf: JSON of the run's fields (a template).

    Returns:
        The tasks by the steps' names.
    """
    groups: dict[str, TaskGroup] = {}
    tasks: dict[str, Any] = {}
    for step in REGISTRY.steps:  # the one that decides the domains comes before those that are mapped over them
        if step.group is None:
            tasks[step.name] = _task(step, run_uri, conf, tasks)
            continue
        if step.group not in groups:
            groups[step.group] = TaskGroup(step.group, prefix_group_id=False)
        with groups[step.group]:
            tasks[step.name] = _task(step, run_uri, conf, tasks)
    for earlier, later in sorted(REGISTRY.edges):
        tasks[earlier] >> tasks[later]
    return tasks


def _task(step: Step, run_uri: str, conf: str, tasks: dict[str, Any]) -> Any:
    operator = operator_of(EXECUTOR, step)
    arguments = {
        "task_id": step.name,
        "step": step.name,
        "run_uri": run_uri,
        "conf": conf,
        "retries": min(step.retries, RETRIES_MAX),
        "retry_delay": timedelta(seconds=30),
        "retry_policy": RETRY_POLICY,
        "execution_timeout": timedelta(minutes=step.timeout_minutes * TIMEOUT_SCALE),
        "on_failure_callback": FailureNotice(),
        "doc_md": f"reads {', '.join(step.inputs) or 'the catalogue'}; writes {', '.join(step.outputs)}",
        **operator.arguments_for(step),
    }
    axes = {"domain": tasks[REGISTRY.domain_step.name].output} if step.per_domain else {}
    if shards := step.shards(SHARDS):
        axes["shard"] = shards
    if not axes:
        return operator(**arguments)
    label = " ".join(f"{{{{ task.{axis} }}}}" for axis in axes)
    return operator.partial(map_index_template=label, **arguments).expand(**axes)
