"""Runs that the runner wrote, on a folder and on S3, as the exporter sees them."""

from __future__ import annotations

import pytest

from modit.monitor.watch import RunWatcher


@pytest.mark.parametrize("remote", [False, True], ids=["folder", "s3"])
def test_steps_tell_how_long_they_worked_and_what_is_reused_does_not(toy, s3, remote):
    root = "s3://bucket/runs" if remote else toy.folder / "runs"
    toy.run_all(f"{root}/a")
    toy.run_all(f"{root}/b")  # takes everything from the first
    watcher = RunWatcher(str(root), every=0)
    by_name = {facts.name: facts for facts in watcher.sight().runs}
    assert set(by_name) == {"a", "b"}
    assert {step for step, _ in by_name["a"].steps} == {step.name for step in toy.registry.steps}
    assert all(0 <= seconds < 60 for seconds in by_name["a"].steps.values())
    assert by_name["b"].steps == {}
    assert watcher.sight().runs == tuple(by_name.values())


def test_a_bucket_that_is_not_there_is_a_failure_and_no_crash(s3):
    assert RunWatcher("s3://no-such-bucket/runs", every=0).sight().failures == 1
