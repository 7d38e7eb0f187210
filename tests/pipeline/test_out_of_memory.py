"""A step that ran out of memory takes half as much at once the next time, however it was ended."""

from __future__ import annotations

import json
import resource
import signal
import subprocess

import pytest
from toycommand import command

from modit.core import workspace
from modit.core.artifacts import MANIFEST

GIGABYTE = 1 << 30
# One part of the toy's 6 GiB does not fit, a half does; address space alone, nothing is written to it.
NEEDED, LIMIT = 6 * GIGABYTE, 5 * GIGABYTE


@pytest.fixture
def run(toy):
    folder = toy.folder / "runs" / "a"
    for step in ("read", "divide"):
        toy.runner(folder).execute(step)
    return folder


def grow(toy, run, limit: int = LIMIT, **environment: str) -> subprocess.CompletedProcess[str]:
    process = command(toy, run, "grow", "--domain", "odd", TOY_BYTES=str(NEEDED), **environment)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def noted(run) -> dict:
    return json.loads((run / ".work" / "grow.odd" / workspace.ATTEMPT_FILE).read_text())


def test_the_attempt_after_one_that_ran_out_of_memory_succeeds_with_half_at_once(toy, run):
    first = grow(toy, run)
    assert first.returncode == 4 and "grow: out of memory" in first.stderr, first.stderr
    assert noted(run)["outcome"] == "out of memory"
    second = grow(toy, run)
    assert second.returncode == 0 and "batches in 2 parts" in second.stderr
    assert toy.runner(run).store.get("grown", "odd").summary["batch_parts"] == 2
    assert not (run / ".work" / "grow.odd" / workspace.ATTEMPT_FILE).exists()


def test_each_attempt_that_runs_out_halves_again_and_other_failures_keep_what_was_learnt(toy, run):
    for parts in (1, 2, 4):
        assert grow(toy, run, limit=GIGABYTE).returncode == 4
        assert noted(run)["parts"] == parts
    assert grow(toy, run, TOY_FAILS="1").returncode == 1
    assert (noted(run)["parts"], noted(run)["outcome"]) == (8, "ended")
    assert grow(toy, run).returncode == 0
    assert toy.runner(run).store.get("grown", "odd").summary["batch_parts"] == 8


def killed(toy, run) -> None:
    with command(toy, run, "grow", "--domain", "odd", TOY_PAUSE="1") as process:
        assert process.stdout.readline() == "paused\n", process.stderr.read()
        process.send_signal(signal.SIGKILL)


def test_a_kill_that_was_not_the_kernels_for_memory_changes_nothing(toy, run):
    toy.run_all(toy.folder / "elsewhere" / "b")
    killed(toy, run)
    assert noted(run)["outcome"] == "running"
    toy.run_all(run)
    assert "batch_parts" not in toy.runner(run).store.get("grown", "odd").summary
    assert toy.digests(run) == toy.digests(toy.folder / "elsewhere" / "b")


@pytest.mark.parametrize("seen", [["another machine", 0], None], ids=["another machine", "a kernel that does not tell"])
def test_a_kill_of_which_nothing_is_known_counts_as_memory(toy, run, seen):
    killed(toy, run)
    (run / ".work" / "grow.odd" / workspace.ATTEMPT_FILE).write_text(json.dumps({**noted(run), "kernel": seen}))
    toy.runner(run).execute("grow", "odd")
    assert toy.runner(run).store.get("grown", "odd").summary["batch_parts"] == 2


def test_a_kill_by_the_kernel_of_this_machine_counts_as_memory_whatever_else_was_said(toy, run):
    killed(toy, run)
    boot, kills = noted(run)["kernel"]
    earlier = {**noted(run), "kernel": [boot, kills - 1], "outcome": "ended"}
    (run / ".work" / "grow.odd" / workspace.ATTEMPT_FILE).write_text(json.dumps(earlier))
    toy.runner(run).execute("grow", "odd")
    assert toy.runner(run).store.get("grown", "odd").summary["batch_parts"] == 2


def test_sigterm_ends_a_step_with_its_own_status_and_is_no_sign_of_memory(toy, run):
    with command(toy, run, "grow", "--domain", "odd", TOY_PAUSE="1") as process:
        assert process.stdout.readline() == "paused\n", process.stderr.read()
        process.terminate()
        assert process.wait(30) == 143
    assert noted(run)["outcome"] == "ended"


def test_what_another_key_ran_out_of_does_not_count(toy, run):
    assert grow(toy, run).returncode == 4
    toy.runner(run).execute("grow", "even")
    params = toy.folder / "params.yaml"
    params.write_text(params.read_text().replace("steps: 10}", "steps: 11}"))
    toy.runner(run).execute("grow", "odd")
    assert "batch_parts" not in json.loads((run / "grown" / "odd" / MANIFEST).read_text())["summary"]


def test_parts_may_be_asked_for_from_the_first_attempt_on(toy, run, monkeypatch):
    monkeypatch.setenv("MODIT_BATCH_PARTS", "3")
    toy.runner(run).execute("grow", "odd")
    assert toy.runner(run).store.get("grown", "odd").summary["batch_parts"] == 3
