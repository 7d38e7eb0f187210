"""The end of a DAG that makes model versions: a review of each that passed, and what the reviewer's answer leads to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import task_group

from dags.executors import verb_operator
from dags.executors.settings import TIMEOUT_SCALE
from dags.executors.step_task import Verb
from dags.notices import FailureNotice
from dags.review import ReviewOperator
from dags.steps import EXECUTOR
from modit.core.services import REGISTRY


def add_reviews(what: dict[str, str], after: Any = None, **fields: Any) -> None:
    """Adds reviews to the DAG that is being defined: one for each version, and what its answer orders.

    Args:
        what: `run`, whose versions that passed are reviewed; or `of`, a version, and `run`, a run beside its own
            (templates).
        after: the task that must be done before, or None.
        fields: of `ReviewOperator`.
    """
    order = {"verb": "review", "of": what.get("of", ""), "options": {"run": what["run"]}}
    prepare = verb_task("prepare_reviews", order, returns=True)

    @task_group(group_id="release")
    def release(review: Any) -> None:
        verb_task("carry_out", ReviewOperator(task_id="review", review=review, **fields).output)

    if after is not None:
        after >> prepare
    release.expand(review=prepare.output)


def verb_task(task_id: str, order: Any, *, returns: bool = False, needs: frozenset[str] = frozenset({REGISTRY})) -> Any:
    """A task of `modit VERB`, by the executor that runs the steps. It is not tried again: a refusal stays one.

    Args:
        task_id: its name.
        order: as of `VerbTask`, or the output of a task that gives one.
        returns: whether the verb's last line is JSON for other tasks.
        needs: the services that the verb reaches.
    """
    operator, verb = verb_operator(EXECUTOR), Verb(task_id, needs)
    return operator(
        task_id=task_id,
        order=order,
        returns=returns,
        retries=0,
        execution_timeout=timedelta(minutes=verb.timeout_minutes * TIMEOUT_SCALE),
        on_failure_callback=FailureNotice(),
        **operator.arguments_for(verb),
    )
