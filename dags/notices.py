"""Notices: a task failed, a run is late, a review waits or was answered."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from dags.executors.step_task import OutOfMemoryException, UpstreamFailedException

# Airflow connections of type Apprise, with commas between; none: the log alone.
CONNECTIONS = tuple(filter(None, os.environ.get("MODIT_NOTIFY", "").split(",")))
RUNBOOK = "docs/how-to/runbooks/failed-task.md"
CAUSES = {
    AirflowFailException: "refused",
    OutOfMemoryException: "out of memory",
    AirflowTaskTimeout: "timeout",
}
_LONGEST_LINE = 500


class FailureNotice(BaseNotifier):
    """Reports a task that failed for good: its name, the reason in one line, its log, and the runbook."""

    def notify(self, context: Mapping[str, Any]) -> None:
        """Sends the notice.

        Args:
            context: of the task, with the exception that ended it.
        """
        if not isinstance(context.get("exception"), UpstreamFailedException):
            send(*failure_notice(context))


class ReviewNotice(BaseNotifier):
    """Reports that a model version waits for a review, or the answer."""

    def __init__(self, what: str) -> None:
        """Creates the notice.

        Args:
            what: what happened to the version, such as "waits for a review".
        """
        super().__init__()
        self.what = what

    def notify(self, context: Mapping[str, Any]) -> None:
        """Sends the notice; one that cannot be sent does not end the review.

        Args:
            context: of the task that asks.
        """
        title, text = review_notice(context, self.what)
        try:
            send(title, text, kind="info")
        except Exception:  # each kind of service has errors of its own
            logging.getLogger("modit.notices").exception("%s: not sent", title)


def review_notice(context: Mapping[str, Any], what: str) -> tuple[str, str]:
    """Title and text of the notice of a review.

    Args:
        context: of the task that asks.
        what: what happened to the version.
    """
    task, operator = context["ti"], context["task"]
    title = f"{task.dag_id}: {operator.review['version']} {what}"
    lines = [
        f"run {task.run_id}, {operator.review['subject']}",
        f"page: {operator.generate_link_to_ui(task_instance=task, base_url=task.log_url)}",
    ]
    return title, "\n".join(lines)


def failure_notice(context: Mapping[str, Any]) -> tuple[str, str]:
    """Title and text of the notice of a failed task.

    Args:
        context: of the task.
    """
    task, error = context["ti"], context.get("exception")
    cause = cause_of(error)
    domain = getattr(context.get("task"), "domain", None)
    name = f"{task.task_id} {domain}" if domain else task.task_id
    title = f"{task.dag_id}: {name}: {cause}"
    lines = [
        f"run {task.run_id}, task {name}, try {task.try_number}: {cause}: {first_line(error)}",
        f"log: {getattr(task, 'log_url', None) or 'of the task'}",
        f"runbook: {RUNBOOK}#{cause.replace(' ', '-')}",
    ]
    return title, "\n".join(lines)


def cause_of(error: object) -> str:
    """Why a task failed: refused, out of memory, timeout, or failed for anything else."""
    return next((cause for kind, cause in CAUSES.items() if isinstance(error, kind)), "failed")


def first_line(error: object) -> str:
    """The first line of what an error says, or its name."""
    said = str(error or "").strip()
    return said.splitlines()[0][:_LONGEST_LINE] if said else type(error).__name__


def send_missed_deadline(context: Mapping[str, Any]) -> None:
    """Tells of a run that did not end in time.

    Args:
        context: of the deadline: the run, and when it should have ended.
    """
    run = context["dag_run"]
    title = f"{run['dag_id']}: deadline missed"
    end = context["deadline"]["deadline_time"]
    text = f"run {run['dag_run_id']}, queued {run['queued_at']}, has not ended by {end}"
    send(title, f"{text}\nrunbook: {RUNBOOK}#deadline-missed")


def send(title: str, text: str, kind: str = "failure") -> None:
    """Writes a notice to the log and sends it by every connection of MODIT_NOTIFY.

    Args:
        title: in a line.
        text: of the notice.
        kind: `failure` or `info`.
    """
    level = logging.ERROR if kind == "failure" else logging.INFO
    logging.getLogger("modit.notices").log(level, "%s: %s", title, text.replace("\n", "; "))
    if not CONNECTIONS:
        return
    from airflow.providers.apprise.hooks.apprise import AppriseHook

    for connection in CONNECTIONS:
        AppriseHook(connection).notify(text, title, kind)
