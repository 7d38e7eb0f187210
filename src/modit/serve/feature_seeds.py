"""Reads vectors of seeds from the online feature store, with a time limit and a circuit breaker.

A seed may be newer than the index: `publish_features` writes an item to the store in the night that it appears, and the
index has it only when the next release is loaded. A store that is away or slow must not slow requests down, so every
problem here is an answer without vectors and with a reason, and the caller reads the catalogue of the bundle instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from modit.release.bundle.embedding_space import difference_of
from modit.release.bundle.release import SeedsRelease
from modit.serve.metrics import LOOKUP_SECONDS, LOOKUPS

if TYPE_CHECKING:
    from modit.features.lookup import OnlineItems

_FAILURES, _PAUSE_SECONDS = 3, 10.0
# A new encoder may be published at any time: how long a comparison of spaces counts.
_CHECK_SECONDS = 10.0
_logger = logging.getLogger(__name__)


class CircuitBreaker:
    """Stops calls after several failures in a row; after a pause it lets one call try again. Thread-safe."""

    def __init__(self, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts closed.

        Args:
            failures: in a row, after which calls stop.
            pause: seconds until one call may try again.
            clock: in seconds.
        """
        self._most, self._pause, self._clock, self._lock = failures, pause, clock, threading.Lock()
        self._failures, self._retry = 0, 0.0

    def allows(self) -> bool:
        """Whether a call may be made now; its outcome must be told to `record`."""
        with self._lock:
            if self._failures < self._most:
                return True
            now = self._clock()
            if now < self._retry:
                return False
            self._retry = now + self._pause
            return True

    def record(self, succeeded: bool) -> None:
        """Takes note of the outcome of a call."""
        with self._lock:
            self._failures = 0 if succeeded else self._failures + 1
            self._retry = self._clock() + self._pause


class FoundVectors(NamedTuple):
    """What the store answered.

    Attributes:
        vectors: id -> embedding, float32 [d], of the items that the store has.
        problem: why the store was not used, or None.
    """

    vectors: Mapping[str, np.ndarray]
    problem: str | None


class FeatureSeeds:
    """The online store of one feature store. Safe to use from several threads."""

    def __init__(self, folder: str, timeout: float) -> None:
        """Begins to open the store in the background; importing Feast takes seconds.

        Args:
            folder: of the feature store, with its `feature_store.yaml`.
            timeout: seconds that a look-up takes at most.
        """
        self._folder, self._timeout = Path(folder), timeout
        self._breaker = CircuitBreaker(_FAILURES, _PAUSE_SECONDS)
        self._items: OnlineItems | None = None
        self._checked: WeakKeyDictionary[SeedsRelease, tuple[float, str | None]] = WeakKeyDictionary()
        self.problem: str | None = None
        # One thread: Feast's SQLite store has one connection, and a Redis read takes a millisecond.
        self._pool = ThreadPoolExecutor(1, "features")
        self._first_opening = self._pool.submit(self._open)

    def find(self, item_ids: Sequence[str], release: SeedsRelease) -> FoundVectors:
        """Looks up the vectors of seeds in the embedding space of a release.

        Args:
            item_ids: at least one.
            release: that will answer.
        """
        started = time.perf_counter()
        result, found = self._find(item_ids, release)
        LOOKUPS.labels(result).inc()
        if result != "skipped":
            LOOKUP_SECONDS.observe(time.perf_counter() - started)
        if found.problem and found.problem != self.problem:
            _logger.warning("seeds are read from the bundle: %s", found.problem)
        self.problem = found.problem
        return found

    def close(self) -> None:
        """Ends the thread after the look-up that may be going on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _find(self, item_ids: Sequence[str], release: SeedsRelease) -> tuple[str, FoundVectors]:
        """The result of a look-up as it is counted, and what was found."""
        if not self._first_opening.done():
            return "skipped", FoundVectors({}, "the feature store is being opened")
        if not self._breaker.allows():
            return "skipped", FoundVectors({}, self.problem or "the feature store is asked again after a pause")
        reading = self._pool.submit(self._read, item_ids, release)
        try:
            found = reading.result(self._timeout)
        except TimeoutError:
            reading.cancel()
            problem = f"the feature store did not answer within {self._timeout:g} s"
        except Exception as error:  # of Feast, SQLite, Redis or the network: a request must not fail with any of them
            what = "cannot be opened" if self._items is None else "failed"
            problem = f"the feature store {what}: {type(error).__name__}: {error}".splitlines()[0]
        else:
            self._breaker.record(True)
            return "refused" if found.problem else "answered", found
        self._breaker.record(False)
        return "failed", FoundVectors({}, problem)

    def _open(self) -> OnlineItems:
        from modit.features.lookup import OnlineItems
        from modit.features.store import open_store

        store = open_store(self._folder)
        online = store.config.online_store
        if online.type == "redis" and "socket_timeout" not in online.connection_string:
            # A thread that waits for a server that is gone is free again after this.
            seconds = max(1, round(10 * self._timeout))
            online.connection_string += f",socket_timeout={seconds},socket_connect_timeout={seconds}"
        self._items = OnlineItems(store)
        return self._items

    def _read(self, item_ids: Sequence[str], release: SeedsRelease) -> FoundVectors:
        items = self._items or self._open()  # an attempt that failed is made again
        checked, problem = self._checked.get(release, (-float("inf"), None))
        if time.monotonic() - checked > _CHECK_SECONDS:
            problem = _difference(items, release)
            self._checked[release] = (time.monotonic(), problem)
        if problem:
            return FoundVectors({}, problem)
        found = zip(item_ids, items.find(item_ids), strict=True)
        shape = (release.space.dimension,)
        return FoundVectors({name: each for name, each in found if each is not None and each.shape == shape}, None)


def _difference(items: OnlineItems, release: SeedsRelease) -> str | None:
    """Why the store's embeddings are not those that a release understands; None where they are."""
    service = release.bundle.feature_service["name"]
    if not items.has_service(service):
        return f"the feature store has no feature service {service}, which {release.label} names"
    sample = release.space.items
    found = {name: each for name, each in zip(sample, items.find(list(sample)), strict=True) if each is not None}
    spaces = f"the feature view has space {items.space()[:12] or '(none)'}, the bundle {release.bundle.space[:12]}"
    dimension = release.space.dimension
    if wrong := [len(each) for each in found.values() if len(each) != dimension]:
        return f"{spaces}: dimension is {wrong[0]}, not {dimension}"
    ours = np.array([sample[name] for name in found], np.float32).reshape(-1, dimension)
    difference = difference_of(ours, np.array(list(found.values()), np.float32).reshape(-1, dimension))
    return f"{spaces}: {difference}" if difference else None
