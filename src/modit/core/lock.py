"""A folder for one process at a time: who comes later waits, then learns who holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from modit.core.errors import ModitError

_POLL = 0.1  # seconds


@contextlib.contextmanager
def locked_range(file: Path, taken: range, busy: Callable[[], ModitError], wait: float) -> Iterator[None]:
    """Holds a range of numbers for this process, side by side with processes that hold others.

    The system keeps such locks for the bytes of a file: byte n stands for number n. They go with the process.

    Args:
        file: made when it is not there; stays empty.
        taken: the numbers, without gaps.
        busy: makes the error to raise.
        wait: seconds to wait for all of them.

    Raises:
        ModitError: what `busy` makes.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with file.open("ab") as held:
        while True:
            try:
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB, len(taken), taken.start)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                if time.monotonic() >= deadline:
                    raise busy() from error
                time.sleep(_POLL)
        yield


@contextlib.contextmanager
def locked(folder: Path, busy: Callable[[str], ModitError], wait: float = 0.0, holder: str = "") -> Iterator[None]:
    """Holds a folder for this process; the lock goes when the process does, however it ends.

    Args:
        folder: made when it is not there; gets `.lock` and `.holder`, which stay.
        busy: the error to raise, made of who holds the folder.
        wait: seconds to wait for it; 0 tries once.
        holder: how others who wait name this one, beside process, machine and time.

    Raises:
        ModitError: what `busy` makes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / ".holder"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / ".lock", timeout=wait))
        except Timeout as error:
            raise busy(note.read_text(encoding="utf-8") if note.is_file() else "another process") from error
        note.write_text(_name(holder), encoding="utf-8")
        yield


def _name(holder: str) -> str:
    process = f"process {os.getpid()} on {socket.gethostname()}, {datetime.now(UTC).isoformat(timespec='seconds')}"
    return f"{holder} ({process})" if holder else process
