"""What `make run` shows of Airflow's log, and how it names runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dags.launch import airflow_environment, run_name, worth_showing

HOOK = "[airflow.task.hooks.airflow.providers.standard.hooks.subprocess.SubprocessHook] loc=subprocess.py:106"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            f"2026-11-21T07:10:18.4Z [info     ] 07:10:18 INFO modit.pretrain: step 5 {HOOK}",
            "07:10:18 INFO modit.pretrain: step 5",
        ),
        (f"2026-11-21T07:10:18.4Z [info     ] Output:                 {HOOK}", None),
        (f'2026-11-21T07:10:18.4Z [info     ] {{"status":"ran"}} {HOOK}', None),
        ("2026-11-21T07:10:18.4Z [info     ] Pushing xcom             [task] loc=task_runner.py:2280", None),
        (
            "2026-11-21T07:10:18.4Z [error    ] Task failed              [task] loc=task_runner.py:2",
            "error: Task failed",
        ),
        (
            "2026-11-21T07:10:18.4Z [warning  ] No tasks to run. unrunnable tasks: {<x>} [airflow.sdk] loc=dag.py:1",
            None,
        ),
        ("ValueError: boom", "ValueError: boom"),
    ],
)
def test_steps_lines_and_errors_are_shown_and_chatter_is_not(line, shown):
    assert worth_showing(line) == shown


def test_a_run_is_named_by_all_its_arguments():
    names = {
        run_name(Path("/data/books"), "small", 0, "all"),
        run_name(Path("/data/books"), "small", 1, "all"),
        run_name(Path("/data/books"), "base", 0, "all"),
        run_name(Path("/data/books"), "small", 0, ["a", "b"]),
    }
    names.add(run_name(Path("/data/books"), "small", 0, "all", "2026-01-01:2026-02-01"))
    assert len(names) == 5
    assert run_name(Path("/data/my books"), "small", 0, "all") == "my_books-small-seed0"


def test_a_run_without_a_scheduler_has_no_deadline_and_asks_nobody(tmp_path):
    environment = airflow_environment(tmp_path)
    assert (environment["MODIT_DEADLINE_HOURS"], environment["MODIT_REVIEW"]) == ("0", "off")
