"""Locks of one machine, which end with their process, and leases with an expiry that hold for all machines."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from modit.core.errors import ModitError, RunBusyError
from modit.core.storage import Storage, digest_of

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


LEASE_FOLDER = ".leases"


class Lease:
    """Held by one holder at a time.

    Each taking makes the next numbered file, which of several callers exactly one can; only its holder writes that file
    again, to renew it. A holder that died holds the lease until it expires.
    """

    def __init__(
        self, place: Storage, holder: str, doing: str, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Creates a lease that is not held.

        Args:
            place: folder of its files.
            holder: name of who takes it.
            doing: what the holder does, for messages.
            seconds: time after which a lease that is not renewed expires.
            clock: returns seconds since 1970.
        """
        self.place, self.holder, self.doing = place, holder, doing
        self.seconds, self.clock = seconds, clock
        self._taken: str | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Takes or renews the lease, and keeps renewing it meanwhile. It stays held after that, until it expires.

        Raises:
            RunBusyError: another one holds it, or took it over because this process slept past the expiry.
        """
        name = self._taken = self._take()
        done = threading.Event()
        beat = threading.Thread(target=self._renew, args=(name, done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
        self.expect_held()
        self._write(name)

    def expect_held(self) -> None:
        """Checks that the lease has not been lost.

        Raises:
            RunBusyError: the lease expired, and another holder took it.
        """
        if self._newest() != self._taken:
            raise RunBusyError(f"{self.place.uri}: the lease of {self.holder} expired while it slept, another took it")

    def release(self) -> None:
        """Gives the lease back before its expiry; nothing happens if another one has it."""
        name = self._newest()
        content = self.place.read_json(name) if name else None
        if name and content and content["holder"] == self.holder:
            self.place.write_json(name, {**content, "expires": 0.0})

    def _take(self) -> str:
        name = self._newest()
        content = (self.place.read_json(name) if name else None) or {"holder": "", "expires": 0.0}
        left = content["expires"] - self.clock()
        if left > 0 and content["holder"] != self.holder:
            raise RunBusyError(
                f"{self.place.uri}/{name}: {content['holder']} is {content.get('doing', self.doing)}; "
                f"its lease expires in {left:.0f} s unless it is renewed"
            )
        if name and left > 0:
            self._write(name)
            return name
        following = f"{int(name.split('.')[0]) + 1 if name else 1:08d}.json"
        if not self.place.create_json(following, self._content()):
            there = self.place.read_json(following) or {}
            if there.get("holder") != self.holder:  # else the store's answer was lost, and the client asked again
                raise RunBusyError(f"{self.place.uri}/{following}: another one took the lease at the same moment")
        return following

    def _renew(self, name: str, done: threading.Event) -> None:
        while not done.wait(self.seconds / 4):
            try:
                if self._newest() == name:
                    self._write(name)
            except Exception:
                # A store that is away for a minute must not end the renewing: there are more beats before the expiry.
                logging.getLogger("modit.lease").warning("%s: not renewed, trying again", self.place.uri, exc_info=True)

    def _newest(self) -> str | None:
        return max((name for name in self.place.sizes() if name[0] != "."), default=None)

    def _write(self, name: str) -> None:
        self.place.write_json(name, self._content())

    def _content(self) -> dict[str, object]:
        return {"holder": self.holder, "doing": self.doing, "expires": self.clock() + self.seconds}


class NightLease(Lease):
    """Lease on a catalogue. It is held between steps too, so that no other run of the catalogue starts meanwhile."""

    def __init__(self, run: Storage, catalogue: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """Creates the lease of a run on its catalogue.

        Args:
            run: the run's folder.
            catalogue: address of its input.
            seconds: time after which a lease that is not renewed expires.
            clock: returns seconds since 1970.
        """
        place = run.parent.at(LEASE_FOLDER, digest_of(catalogue)[:16])
        super().__init__(place, f"run {run.uri}", "working on this catalogue", seconds, clock)
