"""What an answer to a review orders, and that the command line takes the order."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow", reason="needs the extra `airflow`")

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags import review
from dags.executors.process import ProcessCommand
from dags.notices import review_notice
from dags.review import ReviewOperator, by_hand, links_of
from modit.cli import build_parser

SHOWN = {"version": "modit-popular/3", "domain": "popular", "run": "/runs/a", "verdict": "a" * 64}
SHOWN |= {"subject": "modit-popular/3: PASS (verdict aaaaaaaaaaaa)", "body": "**modit-popular/3**"}
GIVEN = datetime(2026, 1, 31, 6, tzinfo=UTC)
PLACE = "airflow:nightly_retrain/night/release.review/1/2"


def operator(**fields) -> ReviewOperator:
    return ReviewOperator(task_id="review", review=SHOWN, **fields)


def context_of(task: ReviewOperator) -> dict:
    run = SimpleNamespace(dag_id="nightly_retrain", run_id="night")
    place = {"task_id": "release.review", "map_index": 1, "try_number": 2, "log_url": "http://airflow:8080/dags/x"}
    return {"ti": SimpleNamespace(**vars(run), **place), "dag_run": run, "task": task}


def answered(task: ReviewOperator, option: str, user: str | None = "ada", shown: dict | None = SHOWN) -> dict:
    who = {"id": user, "name": user} if user else None
    event = {"chosen_options": [option], "params_input": {}, "responded_at": GIVEN, "responded_by_user": who}
    return task.execute_complete(context_of(task), event, shown)


def parsed(order: dict):
    """The order as `modit` reads it, from the command of the task that carries it out."""
    command = ProcessCommand(task_id="carry_out", order=order).command_line()
    assert command[:2] == ["-m", "modit.cli"]
    return build_parser().parse_args(command[2:])


def test_an_approval_is_of_the_verdict_that_was_shown_whatever_the_task_is_rendered_to_now():
    task = operator()
    task.review = SHOWN | {"version": "modit-popular/4", "verdict": "b" * 64}
    found = parsed(answered(task, "Approve"))
    assert (found.action, found.version, found.verdict) == ("approve", "modit-popular/3", "a" * 64)
    assert (found.run, found.by, found.approval, found.approved_at) == ("/runs/a", "ada", PLACE, GIVEN.isoformat())


def test_a_rejection_is_an_order_with_a_reason():
    found = parsed(answered(operator(), "Reject"))
    assert (found.action, found.version, found.by) == ("reject", "modit-popular/3", "ada")
    assert found.reason == "rejected in the review nightly_retrain/night"


def test_where_nobody_answers_the_version_is_rejected_by_the_setting():
    found = parsed(answered(operator(), "Reject", user=None))
    assert (found.action, found.version, found.verdict) == ("reject", "modit-popular/3", "a" * 64)
    assert (found.by, found.reason) == (
        "MODIT_REVIEW_HOURS=8",
        "no answer within 8 h in the review nightly_retrain/night",
    )
    assert found.approval == f"timeout:{PLACE.removeprefix('airflow:')}"


def test_by_hand_an_action_that_nobody_answers_orders_nothing():
    task = operator(action="rollback", otherwise="", reason="it answers badly", asks_always=True)
    with pytest.raises(AirflowSkipException, match="no answer within 8 h"):
        answered(task, "Reject", user=None)


def test_an_approval_without_what_was_shown_orders_nothing():
    with pytest.raises(AirflowFailException, match="not known"):
        answered(operator(), "Approve", shown=None)


def test_by_hand_an_approval_orders_the_action_and_a_rejection_nothing():
    task = operator(action="rollback", otherwise="", reason="it answers badly", asks_always=True)
    found = parsed(answered(task, "Approve"))
    assert (found.domain, found.to, found.by, found.reason) == ("popular", 3, "ada", "it answers badly")
    with pytest.raises(AirflowSkipException, match="rejected, by ada: nothing is done"):
        answered(task, "Reject")


@pytest.mark.parametrize("action", ["override", "reject", "rollback"])
def test_nobody_is_asked_about_what_would_be_refused_for_want_of_a_reason(action):
    task = operator(action=action, asks_always=True)
    with pytest.raises(AirflowFailException, match=f"{action} needs a reason"):
        task.execute(context_of(task))


def test_without_reviews_nobody_is_asked_and_the_command_is_told(monkeypatch):
    monkeypatch.setattr(review, "MODE", "off")
    task = operator()
    with pytest.raises(AirflowSkipException) as skipped:
        task.execute(context_of(task))
    told = by_hand(SHOWN)
    assert told in str(skipped.value)
    assert build_parser().parse_args(told.split()[1:]).verdict == "a" * 64


def test_what_is_promoted_without_a_review_is_recorded_as_such(monkeypatch):
    monkeypatch.setattr(review, "MODE", "auto-promote")
    task = operator()
    found = parsed(task.execute(context_of(task)))
    assert (found.action, found.verdict, found.by) == ("approve", "a" * 64, "MODIT_REVIEW=auto-promote")
    assert found.approval == "configuration:nightly_retrain/night/modit-popular/3"


def test_what_a_run_set_for_itself_is_not_promoted_without_a_person(monkeypatch):
    monkeypatch.setattr(review, "MODE", "auto-promote")

    class Asked(Exception):
        pass

    def ask(task, context):
        raise Asked

    monkeypatch.setattr(ReviewOperator, "_expect_shown", ask)
    task = operator()
    task.review = SHOWN | {"thresholds": "gate.noise_floor = 0"}
    with pytest.raises(Asked):
        task.execute(context_of(task))


def test_the_links_of_a_review_open_where_the_setting_says_and_there_are_none_without(monkeypatch):
    assert links_of("modit-popular/3") == ""
    monkeypatch.setattr("dags.review.SERVICE", "http://serve:8000")
    assert links_of("modit-popular/3").startswith("- [releases](http://serve:8000/releases#popular): ")
    monkeypatch.setattr("dags.review.MLFLOW", "https://mlflow")
    first, _ = links_of("modit-popular/3").splitlines()
    assert first.startswith("- [modit-popular/3 in MLflow](https://mlflow/#/models/modit-popular/versions/3): ")


def test_a_notice_names_version_verdict_and_page():
    title, text = review_notice(context_of(operator()), "waits for a review")
    assert title == "nightly_retrain: modit-popular/3 waits for a review"
    first, page = text.splitlines()
    assert first == f"run night, {SHOWN['subject']}"
    assert page.startswith("page: http://airflow:8080/dags/nightly_retrain/runs/night/tasks/release.review/required")


def test_a_notice_that_cannot_be_sent_does_not_end_a_review(monkeypatch, caplog):
    monkeypatch.setattr("dags.notices.CONNECTIONS", ("no_such_connection",))
    answered(operator(), "Approve")
    assert "not sent" in caplog.text
