"""A lease with an expiry, as numbered files: one night of a catalogue, one promotion of a domain at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from modit.core.errors import RunBusyError
from modit.core.storage import Storage, digest_of

LEASE_FOLDER = ".leases"


class Lease:
    """Held by one holder at a time.

    Each taking makes the next numbered file, which of several callers exactly one can; only its holder writes that file
    again, to renew it. A holder that died holds the lease until it expires.
    """

    def __init__(
        self, place: Storage, holder: str, doing: str, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Args: `place` of its files; `holder` its name; `doing` what it does, for messages; `seconds` until an
        unrenewed lease expires; `clock`.
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
        """Raises:
        RunBusyError: another one took the lease, which had expired.
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
    """Of a catalogue. It outlives a step, so that no other night starts between two of them."""

    def __init__(self, run: Storage, catalogue: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """Args: `run` the run's folder; `catalogue` its input; `seconds` until an unrenewed lease expires; `clock`."""
        place = run.parent.at(LEASE_FOLDER, digest_of(catalogue)[:16])
        super().__init__(place, f"run {run.uri}", "working on this catalogue", seconds, clock)
