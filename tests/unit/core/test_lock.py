"""A folder for one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modit.core.errors import RunBusyError
from modit.core.locks import locked

HOLD = """
import sys, time
from pathlib import Path
from modit.core.errors import RunBusyError
from modit.core.locks import locked
with locked(Path(sys.argv[1]), RunBusyError, holder="run tonight"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_comes_second_learns_who_holds_it(tmp_path):
    with (
        locked(tmp_path / "new", RunBusyError, holder="run tonight"),
        pytest.raises(RunBusyError, match=rf"^run tonight \(process {os.getpid()} on \S+, \d{{4}}-.*\)$"),
        locked(tmp_path / "new", RunBusyError),
    ):
        pytest.fail("held twice")
    with locked(tmp_path / "new", RunBusyError):
        pass


def test_who_can_wait_gets_it_when_it_is_free(tmp_path):
    held = threading.Event()

    def hold() -> None:
        with locked(tmp_path, RunBusyError):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with locked(tmp_path, RunBusyError, wait=10):
        assert "process" in (tmp_path / ".holder").read_text()
    thread.join()


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        busy = pytest.raises(RunBusyError, match=rf"run tonight \(process {holder.pid} on")
        with busy, locked(tmp_path, RunBusyError):
            pytest.fail("held twice")
        holder.kill()
    with locked(tmp_path, RunBusyError):
        pass


def test_an_error_of_the_work_itself_is_not_taken_for_a_lock_that_is_held(tmp_path):
    with pytest.raises(TimeoutError, match="of the work"), locked(tmp_path, RunBusyError):
        raise TimeoutError("of the work")
    with locked(tmp_path, RunBusyError):
        pass
