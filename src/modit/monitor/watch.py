"""The newest runs of a run root, read at most every so often, however many runs there are."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from modit.core.errors import ArtifactError
from modit.core.run_config import RUN_FILE
from modit.core.storage import Storage
from modit.monitor.runs import RunFacts, RunReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sight:
    """What was seen of a run root.

    Attributes:
        runs: the newest runs, newest first.
        count: of all runs under the root.
        unreadable: of the newest, those that could not be read.
        seen: when, seconds since 1970; 0 before the first time.
        failures: how often the root could not be read since the start.
    """

    runs: tuple[RunFacts, ...] = ()
    count: int = 0
    unreadable: int = 0
    seen: float = 0.0
    failures: int = 0


class RunWatcher:
    """Looks at a run root.

    A look costs one listing of the root, one of each of the newest runs, and a read of each of their small files that
    has changed. A run's start is asked for once.
    """

    def __init__(self, root: str, newest: int = 50, every: float = 30.0) -> None:
        """Args: `root` a path or address; `newest` how many runs to read; `every` seconds between two looks."""
        self._root, self._newest, self._every = Storage(root), newest, every
        self._started: dict[str, float] = {}
        self._readers: dict[str, RunReader] = {}
        self._sight, self._looked = Sight(), -every
        self._lock = threading.Lock()

    def sight(self) -> Sight:
        """What there is, at most `every` seconds old; what was seen last while the root cannot be read."""
        with self._lock:
            if time.monotonic() - self._looked >= self._every:
                self._sight = self._look_or_keep()
                self._looked = time.monotonic()
            return self._sight

    def _look_or_keep(self) -> Sight:
        last = self._sight
        try:
            return self._look(last.failures)
        except Exception as error:  # each kind of store has errors of its own
            logger.warning("%s cannot be read: %r", self._root.uri, error)
            return Sight(last.runs, last.count, last.unreadable, last.seen, last.failures + 1)

    def _look(self, failures: int) -> Sight:
        self._started = self._starts()
        newest = sorted(self._started, key=lambda name: (self._started[name], name), reverse=True)[: self._newest]
        known = self._readers
        self._readers = {
            name: known.get(name) or RunReader(self._root.at(name), self._started[name]) for name in newest
        }
        found = [facts for reader in self._readers.values() if (facts := _read(reader)) is not None]
        return Sight(tuple(found), len(self._started), len(newest) - len(found), time.time(), failures)

    def _starts(self) -> dict[str, float]:
        """Run -> when its `run.json` was written; a folder without one is no run, or not yet."""
        files = self._root.filesystem
        entries = files.ls(self._root.root, detail=True)
        names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
        starts = {}
        for name in names:
            if name.startswith("."):
                continue
            try:
                known = self._started.get(name)
                path = f"{self._root.root}/{name}/{RUN_FILE}"
                starts[name] = files.modified(path).timestamp() if known is None else known
            except FileNotFoundError:
                continue
        return starts


def _read(reader: RunReader) -> RunFacts | None:
    try:
        return reader.facts()
    except ArtifactError as error:
        logger.warning("a run is left out: %s", error)
        return None
