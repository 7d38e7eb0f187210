"""Reads the newest runs of a run root at most once in 30 seconds."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from modit.core.errors import ArtifactError
from modit.core.run_config import RUN_FILE
from modit.core.storage import Storage
from modit.monitor.runs import RunFacts, RunReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sight:
    """The runs of a run root at one time.

    Attributes:
        runs: The newest runs, newest first.
        count: Number of all runs.
        unreadable: Number of the newest runs that could not be read.
        seen: Time of the reading, seconds since 1970; 0 before the first.
        failures: Number of times that the root could not be read since the start.
    """

    runs: tuple[RunFacts, ...] = ()
    count: int = 0
    unreadable: int = 0
    seen: float = 0.0
    failures: int = 0


class RunWatcher:
    """Watches a run root.

    A reading costs one listing of the root, one of each of the newest runs, and a read of each small file that has
    changed. A run's start is asked for once.
    """

    def __init__(self, root: str, newest: int = 50, every: float = 30.0) -> None:
        """Prepares the watcher; nothing is read yet.

        Args:
            root: A path or address.
            newest: Number of runs to read.
            every: Seconds between two readings.
        """
        self._root, self._newest, self._every = Storage(root), newest, every
        self._started: dict[str, float] = {}
        self._readers: dict[str, RunReader] = {}
        self._sight, self._looked = Sight(), -every
        self._lock = threading.Lock()

    def sight(self) -> Sight:
        """The runs, at most `every` seconds old; the last ones while the root cannot be read."""
        with self._lock:
            if time.monotonic() - self._looked >= self._every:
                last = self._sight
                try:
                    self._sight = self._look()
                except Exception as error:  # each kind of store has errors of its own
                    logger.warning("%s cannot be read: %r", self._root.uri, error)
                    self._sight = replace(last, failures=last.failures + 1)
                self._looked = time.monotonic()
            return self._sight

    def _look(self) -> Sight:
        self._started = self._starts()
        newest = sorted(self._started, key=lambda name: (self._started[name], name), reverse=True)[: self._newest]
        known = self._readers
        self._readers = {
            name: known.get(name) or RunReader(self._root.at(name), self._started[name]) for name in newest
        }
        found = []
        for reader in self._readers.values():
            try:
                found.append(reader.facts())
            except ArtifactError as error:
                logger.warning("a run is left out: %s", error)
        return Sight(tuple(found), len(self._started), len(newest) - len(found), time.time(), self._sight.failures)

    def _starts(self) -> dict[str, float]:
        """Run -> when its `run.json` was written; a folder without one is no run, or not yet."""
        files, starts = self._root.filesystem, {}
        entries = files.ls(self._root.root, detail=True)
        names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
        for name in names:
            if name in self._started:
                starts[name] = self._started[name]
            elif not name.startswith("."):
                with suppress(FileNotFoundError):
                    starts[name] = files.modified(f"{self._root.root}/{name}/{RUN_FILE}").timestamp()
        return starts
