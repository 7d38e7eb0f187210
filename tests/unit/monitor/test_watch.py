"""A run root is looked at with bounded work, and a store that is away does not take what was known."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from fsspec.implementations.local import LocalFileSystem
from maderuns import START, finish_run, start_run

from modit.monitor.watch import RunWatcher


@pytest.fixture
def calls(monkeypatch):
    """Counts what the file system is asked for."""
    counts: Counter[str] = Counter()
    for name in ("modified", "find", "cat_file", "ls"):
        monkeypatch.setattr(LocalFileSystem, name, _counted(counts, name, getattr(LocalFileSystem, name)))
    return counts


def _counted(counts, name, real):
    def call(self, *arguments, **options):
        counts[name] += 1
        return real(self, *arguments, **options)

    return call


def test_the_newest_runs_are_read_newest_first_and_all_are_counted(tmp_path):
    for number in (2, 0, 3, 1):
        start_run(tmp_path, f"run-{number}", START + number)
    sight = RunWatcher(str(tmp_path), newest=2).sight()
    assert [facts.name for facts in sight.runs] == ["run-3", "run-2"]
    assert sight.count == 4


def test_folders_that_are_no_runs_are_left_out(tmp_path):
    (tmp_path / "catalogue").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "mlflow.db").write_text("")
    assert RunWatcher(str(tmp_path)).sight().count == 0


def test_a_thousand_runs_cost_a_look_no_more_than_the_newest(tmp_path, calls):
    for number in range(1000):
        start_run(tmp_path, f"run-{number}", START + number)
    watcher = RunWatcher(str(tmp_path), newest=10, every=0)
    assert watcher.sight().count == 1000
    assert calls["modified"] == 1000 and calls["cat_file"] == 10
    calls.clear()
    finish_run(tmp_path, "next", START + 1000)
    assert watcher.sight().runs[0].name == "next"
    assert calls["modified"] == 1  # the start of the new run alone
    assert calls["find"] == 10
    assert calls["cat_file"] == 7  # the new run's files alone


def test_between_two_looks_the_store_is_not_asked(tmp_path, calls):
    start_run(tmp_path, "a")
    watcher = RunWatcher(str(tmp_path), every=3600)
    watcher.sight()
    calls.clear()
    assert watcher.sight().count == 1 and not calls


def test_a_run_that_is_removed_goes(tmp_path):
    start_run(tmp_path, "a")
    watcher = RunWatcher(str(tmp_path), every=0)
    watcher.sight()
    shutil.rmtree(tmp_path / "a")
    assert watcher.sight().runs == ()


def test_an_unreadable_run_is_counted_and_the_others_are_shown(tmp_path, caplog):
    finish_run(tmp_path, "good")
    (start_run(tmp_path, "bad") / "run.json").write_text("{")
    with caplog.at_level("WARNING", logger="modit.monitor"):
        sight = RunWatcher(str(tmp_path)).sight()
    assert ([facts.name for facts in sight.runs], sight.unreadable) == (["good"], 1)
    assert "bad/run.json is not JSON" in caplog.text


def test_while_the_store_is_away_what_was_seen_stays_and_the_failures_count(tmp_path):
    root = tmp_path / "runs"
    start_run(root, "a")
    watcher = RunWatcher(str(root), every=0)
    seen = watcher.sight()
    root.rename(tmp_path / "away")
    assert watcher.sight().failures == 1
    away = watcher.sight()
    assert (away.runs, away.seen, away.failures) == (seen.runs, seen.seen, 2)
    (tmp_path / "away").rename(root)
    back = watcher.sight()
    assert back.seen > seen.seen and back.failures == 2
