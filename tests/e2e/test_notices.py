"""A task that failed for good is told of under a real Airflow, with its cause; what hung is ended, children too."""

from __future__ import annotations

import psutil
import pytest

from dags.launch import main
from tests.inbox import open_inbox
from tests.worlds import small_world

pytestmark = pytest.mark.e2e


@pytest.fixture
def inbox(monkeypatch):
    with open_inbox() as inbox:
        for name, value in inbox.environment.items():
            monkeypatch.setenv(name, value)
        yield inbox


def test_a_refused_night_is_told_of_once_and_not_tried_again(tmp_path, inbox):
    (tmp_path / "empty").mkdir()
    arguments = ["--catalog", str(tmp_path / "empty"), "--preset", "tiny", "--runs", str(tmp_path / "runs")]
    assert main(arguments) != 0
    assert [notice["title"] for notice in inbox.notices] == ["nightly_retrain: validate_logs: refused"]
    told = inbox.notices[0]["message"]
    assert "try 1: refused: " in told and "holds no file" in told
    assert "runbook: docs/how-to/runbooks/failed-task.md#refused" in told


def test_a_step_that_hangs_is_ended_after_its_timeout_and_told_of(tmp_path, inbox, monkeypatch):
    world = small_world(tmp_path / "world")
    # Of four hours, three seconds: less than importing takes.
    monkeypatch.setenv("MODIT_TIMEOUT_SCALE", "0.0002")
    assert main(["--catalog", str(world), "--preset", "tiny", "--runs", str(tmp_path / "runs")]) != 0
    assert [notice["title"] for notice in inbox.notices] == ["nightly_retrain: validate_logs: timeout"]
    left = [each for each in psutil.process_iter(["cmdline"]) if "components" in (each.info["cmdline"] or ())]
    assert not [each for each in left if any(str(tmp_path) in word for word in each.info["cmdline"])]
