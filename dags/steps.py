"""The steps of a pipeline as tasks of a DAG, built from their declarations and mapped over domains and shards."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, TaskGroup, TriggerRule
from airflow.sdk.exceptions import AirflowFailException

from components.registry import REGISTRY
from dags.executors import TIMEOUT_SCALE, operator_of
from dags.executors.step_task import RETRY_POLICY
from dags.notices import FailureNotice
from modit.core.registry import Registry
from modit.core.step import Step

__all__ = ["EXECUTOR", "REGISTRY", "add_steps"]

EXECUTOR = os.environ.get("MODIT_EXECUTOR", "process")
RETRIES_MAX = int(os.environ.get("MODIT_RETRIES_MAX", "5"))
# How many tasks share the items of a step that is sharded; for each domain, where it runs per domain.
SHARDS = int(os.environ.get("MODIT_SHARDS", "1"))
# The task that fails a run in which a domain failed, after all others have finished.
ALL_DOMAINS = "all_domains"


def add_steps(registry: Registry, run_uri: str, conf: str) -> dict[str, Any]:
    """Adds the task of every step to the DAG that is being defined.

    A domain that fails does not stop the others: a step that reads artifacts of domains runs when all tasks of those
    are done, and `python -m components` leaves out the domains that failed.

    Args:
        registry: the steps of the DAG's pipeline.
        run_uri: the run's folder (a template).
        conf: JSON of the run's fields (a template).

    Returns:
        The tasks by the steps' names.
    """
    groups: dict[str, TaskGroup] = {}
    tasks: dict[str, Any] = {}
    for step in registry.steps:  # the one that decides the domains comes before those that are mapped over them
        if step.group is None:
            tasks[step.name] = _task(registry, step, run_uri, conf, tasks)
            continue
        if step.group not in groups:
            groups[step.group] = TaskGroup(step.group, prefix_group_id=False)
        with groups[step.group]:
            tasks[step.name] = _task(registry, step, run_uri, conf, tasks)
    for earlier, later in sorted(registry.edges):
        tasks[earlier] >> tasks[later]
    last = [tasks[name] for name in registry.last_steps]
    last >> AllDomains(task_id=ALL_DOMAINS, after=registry.last_steps, on_failure_callback=FailureNotice())
    return tasks


class AllDomains(BaseOperator):
    """Fails if a domain failed, so that the run does. Tasks after the last steps, such as reviews, do not wait for it.

    Attributes:
        after: names of the last steps, whose results say which domains they did without.
    """

    def __init__(self, *, after: tuple[str, ...], **kwargs: Any) -> None:
        """Takes the fields of the class, and in `kwargs` what every operator takes."""
        super().__init__(**kwargs)
        self.after = after

    def execute(self, context: Any) -> None:
        """Reads the results of the last steps.

        Raises:
            AirflowFailException: a domain failed.
        """
        results = [context["ti"].xcom_pull(task_ids=name) for name in self.after]
        left_out: dict[str, str] = {}
        for result in results:
            left_out |= (result.get("left_out") or {}) if isinstance(result, dict) else {}
        if left_out:
            failed = "; ".join(f"domain {name}: {why}" for name, why in sorted(left_out.items()))
            raise AirflowFailException(f"the run has no result for {failed}")


def _task(registry: Registry, step: Step, run_uri: str, conf: str, tasks: dict[str, Any]) -> Any:
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
        "trigger_rule": _trigger_rule(registry, step),
        "doc_md": f"reads {', '.join(step.inputs) or 'the catalogue'}; writes {', '.join(step.outputs)}",
        **operator.arguments_for(step),
    }
    axes = {"domain": tasks[registry.domain_step.name].output} if step.per_domain and registry.domain_step else {}
    if shards := step.shards(SHARDS):
        axes["shard"] = shards
    if not axes:
        return operator(**arguments)
    label = " ".join(f"{{{{ task.{axis} }}}}" for axis in axes)
    return operator.partial(map_index_template=label, **arguments).expand(**axes)


def _trigger_rule(registry: Registry, step: Step) -> TriggerRule:
    """A step that comes after tasks of single domains starts even if one of them failed."""
    after_domains = any(registry.writer[name].per_domain for name in step.inputs)
    return TriggerRule.ALL_DONE_MIN_ONE_SUCCESS if after_domains else TriggerRule.ALL_SUCCESS
