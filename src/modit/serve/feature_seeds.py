"""Reads vectors of seeds from the online feature store, with a time limit and a circuit breaker.

A seed may be newer than the index: `publish_features` writes an item to the store in the night that it appears, and the
index has it only when the next release is loaded. A store that is away or slow must not slow requests down, so every
problem here is an answer without vectors and with a reason, and the caller reads the catalogue of the bundle instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from modit.release.bundle.embedding_space import difference_of
from modit.release.bundle.loading import Release

if TYPE_CHECKING:
    from modit.features.lookup import OnlineItems

ANSWERED, REFUSED, FAILED, SKIPPED = "answered", "refused", "failed", "skipped"
RESULTS = (ANSWERED, REFUSED, FAILED, SKIPPED)
_FAILURES, _PAUSE_SECONDS = 3, 10.0
# A new encoder may be published at any time: how long a comparison of spaces counts.
_CHECK_SECONDS = 10.0
_logger = logging.getLogger(__name__)


class CircuitBreaker:
    """Stops calls after several failures in a row; after a pause it lets one call try again. Thread-safe."""

    def __init__(
        self,
        failures: int = _FAILURES,
        pause: float = _PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
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
        vectors: for each id its embedding, float32 [d], or None.
        problem: why the store was not used, or None.
    """

    vectors: list[np.ndarray | None]
    problem: str | None


class FeatureSeeds:
    """The online store of one feature store. Safe to use from several threads."""

    def __init__(
        self,
        folder: str,
        timeout: float,
        count: Callable[[str, float], None] = lambda result, seconds: None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Begins to open the store in the background; importing Feast takes seconds.

        Args:
            folder: of the feature store, with its `feature_store.yaml`.
            timeout: seconds that a look-up takes at most.
            count: is told the result of each look-up, one of `RESULTS`, and its seconds.
            breaker: that stops look-ups while the store fails.
        """
        self._folder, self._timeout, self._count = Path(folder), timeout, count
        self._breaker = breaker or CircuitBreaker()
        # One thread: Feast's SQLite store has one connection, and a Redis read takes a millisecond.
        self._pool = ThreadPoolExecutor(1, "features")
        self._lock = threading.Lock()
        self._opening: Future[OnlineItems] = self._pool.submit(self._open)
        self._checked: WeakKeyDictionary[Release, tuple[float, str | None]] = WeakKeyDictionary()
        self._reason = "the feature store is being opened"
        self.problem: str | None = None

    def find(self, item_ids: Sequence[str], release: Release) -> FoundVectors:
        """Looks up the vectors of seeds in the embedding space of a release.

        Args:
            item_ids: at least one.
            release: that will answer.
        """
        started = time.perf_counter()
        result, found = self._find(item_ids, release)
        self._count(result, time.perf_counter() - started)
        if found.problem and found.problem != self.problem:
            _logger.warning("seeds are read from the bundle: %s", found.problem)
        self.problem = found.problem
        return found

    def close(self) -> None:
        """Ends the thread after the look-up that may be going on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _find(self, item_ids: Sequence[str], release: Release) -> tuple[str, FoundVectors]:
        nothing: list[np.ndarray | None] = [None] * len(item_ids)
        opening = self._opened()
        if not opening.done():
            return SKIPPED, FoundVectors(nothing, self._reason)
        if not self._breaker.allows():
            return SKIPPED, FoundVectors(nothing, f"{self._reason}; it is asked again after a pause")
        try:
            vectors, problem = self._within_time(lambda: self._read(opening.result(), item_ids, release))
        except TimeoutError:
            self._failed(f"the feature store did not answer within {self._timeout:g} s")
            return FAILED, FoundVectors(nothing, self._reason)
        except Exception as error:  # of Feast, SQLite, Redis or the network: a request must not fail with any of them
            self._failed(f"the feature store failed: {_first_line(error)}")
            return FAILED, FoundVectors(nothing, self._reason)
        self._breaker.record(True)
        return (REFUSED, FoundVectors(nothing, problem)) if problem else (ANSWERED, FoundVectors(vectors, None))

    def _within_time(self, read: Callable[[], FoundVectors]) -> FoundVectors:
        future = self._pool.submit(read)
        try:
            return future.result(self._timeout)
        except TimeoutError:
            future.cancel()
            raise

    def _opened(self) -> Future[OnlineItems]:
        """The store, or the attempt to open it; one that failed is made again when the breaker allows it."""
        with self._lock:
            if self._opening.done() and self._opening.exception() and self._breaker.allows():
                self._failed(f"the feature store cannot be opened: {_first_line(self._opening.exception())}")
                self._opening = self._pool.submit(self._open)
            return self._opening

    def _failed(self, reason: str) -> None:
        self._reason = reason
        self._breaker.record(False)

    def _open(self) -> OnlineItems:
        from modit.features.lookup import OnlineItems
        from modit.features.store import open_store

        store = open_store(self._folder)
        online = store.config.online_store
        if online.type == "redis" and "socket_timeout" not in online.connection_string:
            # A thread that waits for a server that is gone is free again after this.
            seconds = max(1, round(10 * self._timeout))
            online.connection_string += f",socket_timeout={seconds},socket_connect_timeout={seconds}"
        return OnlineItems(store)

    def _read(self, items: OnlineItems, item_ids: Sequence[str], release: Release) -> FoundVectors:
        if problem := self._difference(items, release):
            return FoundVectors([], problem)
        dimension = release.space.dimension
        vectors = items.find(item_ids)
        usable = [each if each is not None and each.shape == (dimension,) else None for each in vectors]
        return FoundVectors(usable, None)

    def _difference(self, items: OnlineItems, release: Release) -> str | None:
        """Why the store's embeddings are not those that a release understands; None where they are."""
        checked, problem = self._checked.get(release, (-float("inf"), None))
        now = time.monotonic()
        if now - checked > _CHECK_SECONDS:
            problem = _compare(items, release)
            self._checked[release] = (now, problem)
        return problem


def _first_line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _compare(items: OnlineItems, release: Release) -> str | None:
    service = release.bundle.feature_service["name"]
    if not items.has_service(service):
        return f"the feature store has no feature service {service}, which {release.source.label} names"
    sample = list(release.space.items)
    found = items.find(sample)
    common = [name for name, vector in zip(sample, found, strict=True) if vector is not None]
    vectors = [vector for vector in found if vector is not None]
    spaces = f"the feature view has space {items.space()[:12] or '(none)'}, the bundle {release.bundle.space[:12]}"
    if wrong := [len(vector) for vector in vectors if len(vector) != release.space.dimension]:
        return f"{spaces}: dimension is {wrong[0]}, not {release.space.dimension}"
    ours = np.array([release.space.items[name] for name in common], np.float32).reshape(len(common), -1)
    difference = difference_of(ours, np.array(vectors, np.float32).reshape(len(common), -1))
    return f"{spaces}: {difference}" if difference else None
