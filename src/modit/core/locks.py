"""Locks of one machine, which end with their process, and leases with an expiry that hold for all machines."""

from __future__ import annotations

import contextlib
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

LEASE_FOLDER = ".leases"


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
    process = f"process {os.getpid()} on {socket.gethostname()}, {datetime.now(UTC).isoformat(timespec='seconds')}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / ".lock", timeout=wait))
        except Timeout as error:
            raise busy(note.read_text(encoding="utf-8") if note.is_file() else "another process") from error
        note.write_text(f"{holder} ({process})" if holder else process, encoding="utf-8")
        yield


@contextlib.contextmanager
def locked_range(folder: Path, taken: range, busy: Callable[[], ModitError], wait: float) -> Iterator[None]:
    """Holds a range of numbers for this process, side by side with processes that hold others.

    Args:
        folder: made when it is not there; gets a lock file for each number.
        taken: the numbers, ascending, so that two processes never wait for each other.
        busy: makes the error to raise.
        wait: seconds to wait for each of them.

    Raises:
        ModitError: what `busy` makes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            for number in taken:
                stack.enter_context(FileLock(folder / f"{number}.lock", timeout=wait))
        except Timeout as error:
            raise busy() from error
        yield


class Lease:
    """Held by one holder at a time.

    Each taking makes the next numbered file, which of several callers exactly one can; only its holder writes that file
    again, to renew it. A holder that died holds the lease until it expires.

    Attributes:
        place: folder of its files.
        holder: name of who takes it.
        doing: what the holder does, for messages.
        seconds: time after which a lease that is not renewed expires.
        clock: returns seconds since 1970.
    """

    def __init__(
        self, place: Storage, holder: str, doing: str, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
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
        """Raises RunBusyError if the lease expired and another holder took it."""
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


def night_lease(run: Storage, catalogue: str, seconds: float, clock: Callable[[], float] = time.time) -> Lease:
    """A run's lease on its catalogue; held between its steps too, so that no other run of the catalogue starts."""
    place = run.parent.at(LEASE_FOLDER, digest_of(catalogue)[:16])
    return Lease(place, f"run {run.uri}", "working on this catalogue", seconds, clock)
