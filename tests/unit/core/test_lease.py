"""Two nights of a catalogue never run at once; a night that died blocks the next only until its lease expires."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from modit.core.errors import RunBusyError
from modit.core.locks import Lease, night_lease
from modit.core.storage import Storage


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(tmp_path: Path, run: str, clock: Clock, catalogue: str = "/logs") -> Lease:
    return night_lease(Storage(str(tmp_path / run)), catalogue, 600.0, clock)


def test_a_second_night_is_refused_and_told_who_holds_the_lease_and_for_how_long(tmp_path, clock):
    with (
        lease(tmp_path, "first", clock).held(),
        pytest.raises(RunBusyError, match=r"run .*/first is working on this catalogue; its lease expires in 600 s"),
        lease(tmp_path, "second", clock).held(),
    ):
        pytest.fail("two nights at once")


def test_the_lease_outlives_a_step_and_the_same_run_takes_it_again(tmp_path, clock):
    with lease(tmp_path, "first", clock).held():
        pass
    with pytest.raises(RunBusyError), lease(tmp_path, "second", clock).held():
        pytest.fail("between two steps of the first night")
    with lease(tmp_path, "first", clock).held():
        pass


def test_a_night_that_died_blocks_until_its_lease_expires(tmp_path, clock):
    with lease(tmp_path, "first", clock).held():
        pass
    clock.now += 599
    with pytest.raises(RunBusyError), lease(tmp_path, "second", clock).held():
        pytest.fail("before the expiry")
    clock.now += 2
    with lease(tmp_path, "second", clock).held():
        pass


def test_a_night_that_slept_past_its_expiry_is_told_that_it_lost_the_lease(tmp_path, clock):
    with pytest.raises(RunBusyError, match="first expired while it slept"), lease(tmp_path, "first", clock).held():
        clock.now += 601
        with lease(tmp_path, "second", clock).held():
            pass


def test_a_released_lease_is_free_and_only_its_holder_can_release_it(tmp_path, clock):
    first, second = lease(tmp_path, "first", clock), lease(tmp_path, "second", clock)
    with first.held():
        pass
    second.release()
    with pytest.raises(RunBusyError), second.held():
        pytest.fail("it was not the second's to release")
    first.release()
    with second.held():
        pass


def test_nights_of_other_catalogues_are_free(tmp_path, clock):
    with lease(tmp_path, "first", clock).held(), lease(tmp_path, "second", clock, "/other").held():
        pass


def test_a_long_step_renews_its_lease(tmp_path):
    short = night_lease(Storage(str(tmp_path / "first")), "/logs", 0.4)
    other = night_lease(Storage(str(tmp_path / "second")), "/logs", 0.4)
    with short.held():
        time.sleep(1.0)
        with pytest.raises(RunBusyError), other.held():
            pytest.fail("the first night is still at work")


def test_a_store_that_is_away_for_a_while_does_not_end_the_renewing(tmp_path, monkeypatch, caplog):
    short = night_lease(Storage(str(tmp_path / "first")), "/logs", 0.8)
    other = night_lease(Storage(str(tmp_path / "second")), "/logs", 0.8)
    write, failures = Storage.write_json, iter([OSError("the store is away")])

    def flaky(self: Storage, name: str, content: object) -> None:
        for failure in failures:
            raise failure
        write(self, name, content)

    with caplog.at_level("WARNING", logger="modit.lease"), short.held():
        monkeypatch.setattr(Storage, "write_json", flaky)
        time.sleep(1.6)
        with pytest.raises(RunBusyError), other.held():
            pytest.fail("the first night is still at work")
    assert "the store is away" in caplog.text


RACE = """
import sys, time
from modit.core.errors import RunBusyError
from modit.core.locks import night_lease
from modit.core.storage import Storage
while time.time() < float(sys.argv[2]):
    pass
try:
    with night_lease(Storage(sys.argv[1]), "/logs", 600.0).held():
        print("took")
except RunBusyError:
    print("busy")
"""


def test_of_several_processes_at_the_same_moment_exactly_one_takes_the_lease(tmp_path):
    start = str(time.time() + 3)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / f"run-{number}"), start], stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(said) == ["busy", "busy", "busy", "took"]
