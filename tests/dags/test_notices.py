"""What a notice of a failed task says, in two lines that a person can act on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow", reason="needs the extra `airflow`")

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from dags.executors.step_task import OutOfMemoryException
from dags.notices import RUNBOOK, failure_notice

ROOT = Path(__file__).resolve().parents[2]


def notice(error, domain=None):
    task = SimpleNamespace(
        task_id="finetune", dag_id="nightly_retrain", run_id="night", try_number=3, log_url="http://l"
    )
    return failure_notice({"ti": task, "task": SimpleNamespace(domain=domain), "exception": error})


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (AirflowFailException("step finetune refused: no\nmore"), "refused"),
        (OutOfMemoryException("step finetune ran out of memory"), "out of memory"),
        (AirflowTaskTimeout("Timeout, PID: 1"), "timeout"),
        (AirflowException("step finetune ended with status 1"), "failed"),
        ("killed by the scheduler", "failed"),
        (None, "failed"),
    ],
)
def test_a_notice_names_the_cause_and_where_to_look(error, cause):
    title, text = notice(error, "quality")
    assert title == f"nightly_retrain: finetune quality: {cause}"
    first, log, runbook = text.splitlines()
    assert first.startswith(f"run night, task finetune quality, try 3: {cause}: ")
    assert (log, runbook) == ("log: http://l", f"runbook: {RUNBOOK}#{cause.replace(' ', '-')}")


def test_every_cause_has_its_place_in_the_runbook():
    headings = [line[3:] for line in (ROOT / RUNBOOK).read_text().splitlines() if line.startswith("## ")]
    assert headings == ["refused", "out of memory", "timeout", "failed", "deadline missed"]


def test_a_step_that_runs_once_is_named_without_a_domain():
    assert notice(AirflowException("x"))[0] == "nightly_retrain: finetune: failed"
