"""The end of a DAG: a person reviews each model version that passed, and the answer is carried out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput

from dags.executors import TIMEOUT_SCALE, command_operator
from dags.executors.step_task import Command
from dags.notices import FailureNotice, ReviewNotice
from dags.steps import EXECUTOR
from modit.core.services import REGISTRY

REQUIRED, OFF, AUTO = "required", "off", "auto-promote"
# Who says what is promoted: a person; nobody here, it is done by hand; or this setting, and the release log says so.
MODE = os.environ.get("MODIT_REVIEW", REQUIRED)
# How long a review waits; then its version is rejected.
HOURS = float(os.environ.get("MODIT_REVIEW_HOURS", "8"))
# Airflow users who may answer, with commas between; none: all who may answer in this DAG.
REVIEWERS = tuple(filter(None, os.environ.get("MODIT_REVIEWERS", "").split(",")))
# As the reviewer's browser reaches them; none: no link.
MLFLOW = os.environ.get("MODIT_MLFLOW_URL", "").rstrip("/")
SERVICE = os.environ.get("MODIT_SERVICE_URL", "").rstrip("/")
if MODE not in (REQUIRED, OFF, AUTO):
    raise ValueError(f"MODIT_REVIEW is {MODE!r}; allowed: {REQUIRED}, {OFF}, {AUTO}")


def add_reviews(what: dict[str, str], after: Any = None, **fields: Any) -> None:
    """Adds reviews to the DAG that is being defined: one for each version, and what its answer orders.

    Args:
        what: `run`, whose versions that passed are reviewed; or `of`, a version, and `run`, a run beside its own
            (templates).
        after: the task that must be done before, or None.
        fields: of `ReviewOperator`.
    """
    order = {"command": "review", "of": what.get("of", ""), "options": {"run": what["run"]}}
    prepare = command_task("prepare_reviews", order, returns=True)

    @task_group(group_id="release")
    def release(review: Any) -> None:
        command_task("carry_out", ReviewOperator(task_id="review", review=review, **fields).output)

    if after is not None:
        after >> prepare
    release.expand(review=prepare.output)


def command_task(
    task_id: str, order: Any, *, returns: bool = False, needs: frozenset[str] = frozenset({REGISTRY})
) -> Any:
    """A task of `modit COMMAND`, by the executor that runs the steps. It is not tried again: a refusal stays one.

    Args:
        task_id: its name.
        order: as of `CommandTask`, or the output of a task that gives one.
        returns: whether the command's last line is JSON for other tasks.
        needs: the services that the command reaches.
    """
    operator, command = command_operator(EXECUTOR), Command(task_id, needs)
    return operator(
        task_id=task_id,
        order=order,
        returns=returns,
        retries=0,
        execution_timeout=timedelta(minutes=command.timeout_minutes * TIMEOUT_SCALE),
        on_failure_callback=FailureNotice(),
        **operator.arguments_for(command),
    )


class ReviewOperator(ApprovalOperator):
    """Shows a model version to a person, and returns what their answer orders.

    The order has the digest of the verdict that was shown when the question was asked: what is cleared and runs again
    cannot give an approval to another verdict. Airflow keeps a question's text when its task is cleared; where that
    text would be of another verdict, the task fails instead of asking.

    Attributes:
        review: as `modit.release.promotion.review.Review` (templated).
        action: what an approval orders: `approve`, `override`, `reject` or `rollback` (templated).
        otherwise: what a rejection orders: `reject`, or nothing if it is empty (templated).
        reason: in words, for the release log (templated).
        asks_always: whatever MODIT_REVIEW says, since a person has started the run for this review.
    """

    template_fields: Sequence[str] = ("review", "action", "otherwise", "reason")

    def __init__(
        self,
        *,
        review: Any,
        action: str = "approve",
        reason: str = "",
        otherwise: str = "reject",
        asks_always: bool = False,
        **kwargs: Any,
    ) -> None:
        """Takes the fields of the class, and in `kwargs` what every operator takes."""
        super().__init__(
            subject="review",
            defaults=self.REJECT,
            response_timeout=timedelta(hours=HOURS),
            notifiers=[ReviewNotice("waits for a review")],
            assigned_users=[{"id": name, "name": name} for name in REVIEWERS] or None,
            map_index_template="{{ task.review['version'] }}",
            on_failure_callback=FailureNotice(),
            **kwargs,
        )
        self.review, self.action, self.otherwise, self.reason = review, action, otherwise, reason
        self.asks_always = asks_always

    def execute(self, context: Any) -> Any:
        """Asks, and waits for the answer.

        Raises:
            AirflowSkipException: nobody is asked, by MODIT_REVIEW=off.
            AirflowFailException: Airflow still shows the text of an earlier try, and that is of another verdict.
        """
        self.subject = f"{self.action} {self.review['subject']}?"
        self.body = self.review["body"] + links_of(self.review["version"])
        if self.action != "approve" and not self.reason.strip():
            raise AirflowFailException(f"{self.action} needs a reason, and none is given")
        mode = REQUIRED if self.asks_always else MODE
        if mode == AUTO and (own := self.review.get("thresholds")):
            self.log.warning("MODIT_REVIEW=%s: a person is asked, since the run set %s itself", AUTO, own)
            mode = REQUIRED
        if mode == OFF:
            raise AirflowSkipException(f"MODIT_REVIEW={OFF}: nobody is asked; by hand: {by_hand(self.review)}")
        if mode == AUTO:
            self.log.warning("MODIT_REVIEW=%s: %s is promoted without a review", AUTO, self.review["version"])
            run = context["dag_run"]
            place = f"configuration:{run.dag_id}/{run.run_id}/{self.review['version']}"
            return self._order(self.review, "approve", f"MODIT_REVIEW={AUTO}", place)
        self._expect_shown(context)
        try:
            super().execute(context)
        except TaskAwaitingInput as waiting:
            raise TaskAwaitingInput(
                method_name=waiting.method_name, kwargs={"shown": self.review}, timeout=waiting.timeout
            ) from None

    def execute_complete(self, context: Any, event: dict[str, Any], shown: dict[str, str] | None = None) -> Any:
        """Turns the answer into an order.

        Args:
            context: of the task.
            event: the answer.
            shown: the review as it was when the question was asked.

        Raises:
            AirflowSkipException: rejected, by a person or since nobody answered in time, and that is no order.
        """
        if shown is None:
            raise AirflowFailException("what was shown to the reviewer is not known; clear this task to ask again")
        answer = HITLOperator.execute_complete(self, context, event)
        user, approved = answer["responded_by_user"], answer["chosen_options"] == [self.APPROVE]
        source, by = ("airflow", user["name"]) if user else ("timeout", f"MODIT_REVIEW_HOURS={HOURS:g}")
        outcome = ("approved" if approved else "rejected") if user else f"no answer within {HOURS:g} h"
        ReviewNotice(f"{outcome} by {by}" if user else f"rejected: {outcome}")(context)
        command = self.action if approved else self.otherwise
        if not command:
            raise AirflowSkipException(f"{outcome}, by {by}: nothing is done")
        task, run = context["ti"], context["dag_run"]
        place = f"{source}:{run.dag_id}/{run.run_id}/{task.task_id}/{task.map_index}/{task.try_number}"
        reason = self.reason if approved else f"{outcome} in the review {run.dag_id}/{run.run_id}"
        return self._order(shown, command, by, place, answer["responded_at"].isoformat(), reason)

    def _order(
        self, shown: Mapping[str, str], command: str, by: str, approval: str, given: str = "", reason: str = ""
    ) -> dict[str, Any]:
        options = {"run": shown["run"], "by": by, "reason": reason, "approval": approval, "approved-at": given}
        if command == "rollback":
            number = shown["version"].rpartition("/")[2]
            return {"command": command, "of": shown["domain"], "options": {**options, "to": number}}
        return {"command": command, "of": shown["version"], "options": {**options, "verdict": shown["verdict"]}}

    def _expect_shown(self, context: Any) -> None:
        """Airflow leaves subject and body of a question as they were when its task is cleared."""
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        asked = CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=self.defaults,
            multiple=False,
            params={},
            assigned_users=self.assigned_users or [],
        )
        there = SUPERVISOR_COMMS.send(asked)
        if (there.subject, there.body) != (self.subject, self.body):
            raise AirflowFailException(
                f"the page of this task still shows {there.subject!r}, of an earlier try; review "
                f"{self.review['version']} with the DAG promotion_review"
            )


def by_hand(review: Mapping[str, str]) -> str:
    """The command that promotes a version without Airflow."""
    return f"modit approve {review['version']} --run {review['run']} --verdict {review['verdict']} --by NAME"


def links_of(version: str) -> str:
    """Markdown, a line for each page that there is.

    Args:
        version: such as `modit-popular/3`.
    """
    model, _, number = version.rpartition("/")
    in_mlflow = f"[{version} in MLflow]({MLFLOW}/#/models/{model}/versions/{number}): card, and a run with the report"
    in_service = f"[releases]({SERVICE}/releases#{model.removeprefix('modit-')}): verdicts, comparison, release log"
    return "".join(f"- {line}\n" for line, root in ((in_mlflow, MLFLOW), (in_service, SERVICE)) if root)
