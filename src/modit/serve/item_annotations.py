"""What a page shows of items beyond the answer: the scorer's verdict, and whether they are in the seeds' pattern."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.release.bundle.loading import Release

# How long the first page of a release waits for its patterns; the others show what there is.
_WAIT_SECONDS, _RETRY_SECONDS = 1.0, 30.0
_LOADING = "The patterns of this version are being read. Load the page again in a moment."
_logger = logging.getLogger(__name__)


class ItemAnnotations:
    """The annotations of one release's items."""

    def __init__(self, release: Release, patterns: np.ndarray | None, problem: str | None) -> None:
        """Binds them together.

        Args:
            release: whose items they are of.
            patterns: number of each item's pattern, int32 [N]; None where that is not known.
            problem: why it is not known, or None.
        """
        self._column = release.items.verdicts(release.source.domain)
        self.patterns, self.problem = patterns, problem

    def verdicts(self, rows: np.ndarray) -> list[bool | None]:
        """The stored verdict of items [n]; None for an item that was not scored, or is not in the index (row -1)."""
        return verdicts_at(self._column, rows)

    def pattern_of(self, rows: np.ndarray) -> int | None:
        """The pattern that most of the rows are in, the first of several; None where patterns are not known."""
        known = rows[rows >= 0]
        return int(np.bincount(self.patterns[known]).argmax()) if self.patterns is not None and len(known) else None

    def in_pattern(self, rows: np.ndarray, pattern: int | None) -> list[bool | None]:
        """Whether items [n] are in a pattern; None where that is not known."""
        if self.patterns is None or pattern is None:
            return [None] * len(rows)
        return [bool(self.patterns[row] == pattern) if row >= 0 else None for row in rows]

    def share(self) -> float | None:
        """Share of the scored items whose verdict is true, in [0, 1]; None where no item was scored."""
        return None if self._column is None else pc.mean(self._column.cast(pa.int8())).as_py()


def verdicts_at(column: pa.ChunkedArray | None, rows: np.ndarray) -> list[bool | None]:
    """Values of a column of verdicts.

    Args:
        column: boolean [N] with nulls; None for a domain that the catalogue has no verdicts of.
        rows: int64 [n], -1 for an item that the catalogue does not have.

    Returns:
        true, false, or None where an item was not scored or is not there.
    """
    if column is None:
        return [None] * len(rows)
    return column.take(pa.array(rows, mask=np.asarray(rows) < 0)).to_pylist()


class AnnotationLoader:
    """Reads the patterns of releases, one release at a time, in a thread of its own: workers never queue for it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "annotations")
        self._lock = threading.Lock()
        self._found: WeakKeyDictionary[Release, tuple[float, Future[ItemAnnotations]]] = WeakKeyDictionary()

    def annotations_of(self, release: Release) -> ItemAnnotations:
        """The annotations of a release; without patterns while these are being read.

        The first caller waits a second at most. Patterns that could not be read are tried again after half a minute.
        """
        now = time.monotonic()
        with self._lock:
            asked, future = self._found.get(release, (-float("inf"), None))
            failed = future is not None and future.done() and future.result().patterns is None
            is_first = future is None or (failed and now - asked > _RETRY_SECONDS)
            if is_first:
                future = self._pool.submit(_read, release)
                self._found[release] = (now, future)
        assert future is not None
        try:
            return future.result(_WAIT_SECONDS if is_first else 0)
        except TimeoutError:
            return ItemAnnotations(release, None, _LOADING)


def _read(release: Release) -> ItemAnnotations:
    source = release.source
    try:
        labels = _labels(source.run_uri, source.domain)
    except (ArtifactError, OSError, KeyError, ValueError) as error:
        _logger.warning("%s: no patterns: %s", source.label, error)
        return ItemAnnotations(release, None, "The patterns of this version cannot be read.")
    if len(labels) != len(release.items.index):
        found = f"The patterns of this version are of {len(labels)} items, its index has {len(release.items.index)}."
        return ItemAnnotations(release, None, found)
    return ItemAnnotations(release, labels, None)


def _labels(run_uri: str, domain: str) -> np.ndarray:
    """Number of each item's pattern, int32 [N]."""
    name = f"{domain}.npz"
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        store = ArtifactStore(Storage(run_uri), Path(folder))
        with np.load(store.read("patterns", files=(name,)) / name) as stored:
            return stored["labels"]
