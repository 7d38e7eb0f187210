"""What a person sees of `make run`, and how it names runs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from dags import launch, local_airflow
from dags.launch import main, run_name, show_ends
from dags.local_airflow import TaskLogs, airflow_environment
from dags.progress import Progress, took
from modit.core.registry import Pipeline
from modit.core.step import Step


class Run:
    """What tasks say, and what is shown of it."""

    def __init__(self, terminal: bool = False, steps: Sequence[Step] = ()) -> None:
        self.out, self.err, self.now = io.StringIO(), io.StringIO(), 0.0
        self.out.isatty = lambda: terminal
        self.progress = Progress(self.out, self.err, lambda: self.now, steps)

    def task(self, step: str, *said: str, status: int = 0, seconds: float = 2.0, domain: str = "") -> None:
        source = f"{step} {domain}"
        self.starts(step, domain)
        self.now += seconds
        for line in ("Output:", *said, f"Command exited with return code {status}"):
            self.progress.read(source, line)

    def starts(self, step: str, domain: str = "") -> None:
        axes = ["--domain", domain] if domain else []
        command = ["python", "-m", "components", step, "--run", "r", *axes]
        self.progress.read(f"{step} {domain}", f"Running command: {command}")


def result(status: str) -> str:
    return json.dumps({"status": status, "step": "s"})


def test_each_task_is_one_line_with_its_status_and_time():
    run = Run()
    run.task(
        "validate_logs", "07:10:18 INFO modit.validate_logs: runs because no output yet", result("ran"), seconds=12.34
    )
    run.task("finetune", result("cached"), domain="popular", seconds=245)
    assert [line.split() for line in run.out.getvalue().splitlines()] == [
        ["validate_logs", "ran", "12.3", "s"],
        ["finetune", "popular", "cached", "4", "min", "05", "s"],
    ]
    assert run.err.getvalue() == ""


def test_tasks_that_run_side_by_side_keep_their_own_times_and_words():
    run = Run()
    run.starts("finetune", "a")
    run.now = 5.0
    run.starts("finetune", "b")
    run.progress.read("finetune a", "ValueError: boom")
    run.progress.read("finetune b", result("ran"))
    run.now = 7.0
    run.progress.read("finetune b", "Command exited with return code 0")
    run.progress.read("finetune a", "Command exited with return code 1")
    assert [line.split()[1:4] for line in run.out.getvalue().splitlines()] == [
        ["b", "ran", "2.0"],
        ["a", "failed", "7.0"],
    ]
    assert run.err.getvalue() == "  ValueError: boom\n"


def test_the_tasks_of_steps_that_have_ended_are_counted_and_all_of_them_once_the_domains_are_known():
    steps = [
        Step("zeroth", outputs=("w",)),
        Step("first", ("w",), outputs=("x",)),
        Step("second", ("x",), ("y",), per_domain=True),
    ]
    run = Run(steps=steps)
    run.task("zeroth", result("ran"))
    run.task("first", json.dumps({"status": "ran", "domains": ["a", "b"]}))
    run.task("second", result("ran"), domain="a")
    run.task("second", result("ran"), domain="b")
    run.task("review")
    assert [line.split()[:2] for line in run.out.getvalue().splitlines()] == [
        ["1/?", "zeroth"],
        ["2/4", "first"],
        ["3/4", "second"],
        ["4/4", "second"],
        ["review", "done"],
    ]


def test_what_is_left_is_estimated_from_what_ran_by_effort_and_not_from_what_was_cached():
    steps = [
        Step("first", outputs=("x",), effort=10),
        Step("second", ("x",), ("y",), per_domain=True, effort=40),
        Step("third", ("y",), ("z",), effort=10),
    ]
    run = Run(steps=steps)
    run.task("first", json.dumps({"status": "ran", "domains": ["a", "b"]}), seconds=60)
    run.task("second", result("cached"), domain="a", seconds=0)
    run.task("second", result("ran"), domain="b", seconds=190)
    run.task("third", result("ran"), seconds=50)
    assert [line.partition("about")[2] for line in run.out.getvalue().splitlines()] == [
        " 9 min left",
        " 5 min left",
        " a minute left",
        "",
    ]


def test_of_the_logs_of_a_run_each_whole_line_of_the_hook_is_told_once_and_none_of_earlier_runs(tmp_path):
    told: list[tuple[str, str]] = []

    class Told:
        def read(self, source: str, message: str) -> None:
            told.append((Path(source).parent.name, message))

    def line(event: str, logger: str = "airflow.SubprocessHook") -> str:
        return json.dumps({"event": event, "logger": logger}) + "\n"

    old, new = (tmp_path / "dag_id=j" / f"run_id={name}" / "task_id=t" for name in "ab")
    old.mkdir(parents=True)
    (old / "attempt=1.log").write_text(line("old"))
    logs = TaskLogs(tmp_path, "j", {old.parent})
    logs.tell(Told())
    new.mkdir(parents=True)
    (new / "attempt=1.log").write_text(line("one") + line("of Airflow", "task") + "not JSON\n" + line("two")[:9])
    logs.tell(Told())
    assert told == [("task_id=t", "one")]
    with (new / "attempt=1.log").open("a") as file:
        file.write(line("two")[9:])
    logs.tell(Told())
    logs.tell(Told())
    assert told == [("task_id=t", "one"), ("task_id=t", "two")]


def test_a_refusal_is_shown_once_as_it_was_said_with_all_its_lines():
    run = Run()
    said = ["validate_logs: ContractError: items: 3 rows lack an embedding", "  items.parquet row 7: null"]
    run.task("validate_logs", "07:10:18 INFO modit.x: starts", *said, status=3)
    run.task("finetune", "finetune: UpstreamFailedError: not run, because ...", status=5, domain="a")
    assert run.out.getvalue().splitlines()[0].split()[:2] == ["validate_logs", "refused"]
    assert run.err.getvalue() == "  items: 3 rows lack an embedding\n  items.parquet row 7: null\n"
    assert run.out.getvalue().splitlines()[1].split()[:4] == ["finetune", "a", "not", "run"]


def test_of_a_crash_the_end_of_what_it_printed_is_shown():
    run = Run()
    run.task("pretrain", *(f"line {number}" for number in range(9)), "ValueError: boom", status=1)
    assert run.err.getvalue().splitlines() == [f"  line {n}" for n in (5, 6, 7, 8)] + ["  ValueError: boom"]


def test_a_terminal_shows_what_the_running_task_logs_in_a_line_that_goes():
    run = Run(terminal=True)
    run.task("pretrain", "07:10:18 INFO modit.pretrain: step 5", result("ran"))
    assert "step 5" in run.out.getvalue()
    last = run.out.getvalue().rsplit("\x1b[K", 1)[1]
    assert last.split() == ["pretrain", "ran", "2.0", "s"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3601, "60 min 01 s")]
)
def test_times_are_written_as_people_read_them(seconds, text):
    assert took(seconds).strip() == text


def test_a_run_is_named_by_all_its_arguments():
    names = {
        run_name("/data/books", "small", 0, "all"),
        run_name("/data/books", "small", 1, "all"),
        run_name("/data/books", "base", 0, "all"),
        run_name("/data/books", "small", 0, ["a", "b"]),
        run_name("/data/books", "small", 0, "all", "2026-01-01:2026-02-01"),
        run_name("/data/books", "small", 0, "all", "", "overrides1234"),
    }
    assert len(names) == 6
    assert run_name("/data/my books", "small", 0, "all") == "my_books-small-seed0"
    assert run_name("s3://bucket/books/", "small", 0, "all") == "books-small-seed0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--catalog", "/nowhere/at/all"], "refused: CATALOG=/nowhere/at/all: no such file or folder; allowed: "),
        (["--overrides", "{"], "refused: OVERRIDES '{' is not JSON"),
        (["--overrides", "[]"], "refused: OVERRIDES '[]'; allowed: a JSON object"),
        (["--pipeline", "nothing"], "refused: no pipeline 'nothing'; allowed: retrain"),
    ],
)
def test_an_argument_that_is_not_allowed_gives_one_line_and_starts_nothing(
    arguments, said, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(launch, "run_dag", lambda *given: pytest.fail("it must not start Airflow"))
    assert main([*arguments, "--runs", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1 and told.err.startswith(said)


def test_one_task_more_runs_at_once_than_the_cores_allow_unless_the_caller_says_how_many(tmp_path, monkeypatch):
    monkeypatch.setattr(local_airflow, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert airflow_environment(tmp_path)["AIRFLOW__CORE__PARALLELISM"] == "5"
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "3")
    assert airflow_environment(tmp_path)["AIRFLOW__CORE__PARALLELISM"] == "3"


def test_a_run_without_a_scheduler_has_no_deadline_and_asks_nobody(tmp_path):
    environment = airflow_environment(tmp_path)
    assert (environment["MODIT_DEADLINE_HOURS"], environment["MODIT_REVIEW"]) == ("0", "off")


@pytest.mark.parametrize(("made", "status"), [(["one", "two"], 0), (["one"], 1)])
def test_a_pipeline_without_a_verdict_ends_with_the_places_of_its_artifacts(tmp_path, capsys, made, status):
    for name in made:
        (tmp_path / name).mkdir()
    assert show_ends(str(tmp_path), Pipeline("p", ("one", "two"), "A toy.")) == status
    assert capsys.readouterr().out.splitlines() == [f"{name}: {tmp_path / name}" for name in made]


@pytest.mark.parametrize("state", ["successful", "failed"])
def test_an_executor_that_does_not_shut_down_is_overdue_once_airflow_has_marked_the_run(tmp_path, monkeypatch, state):
    log = tmp_path / "run.log"
    log.write_text("starting\nMarking run <DagRun j @ 2026: a, state:running> ")
    end = local_airflow._End(log)
    assert not end.overdue() and end.state is None
    with log.open("a") as more:
        more.write(f"{state} [airflow]\n")
    assert not end.overdue() and end.state == state
    monkeypatch.setattr(local_airflow, "SHUT_DOWN", -1.0)
    assert end.overdue()
