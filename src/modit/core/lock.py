"""A folder for one process at a time: who comes later waits, then learns who holds it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from modit.core.errors import ModitError


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
