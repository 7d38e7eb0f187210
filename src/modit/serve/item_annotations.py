"""What a page says of items beyond the answer: whether they have the attribute, and their pattern."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.release.bundle.loading import Release

_logger = logging.getLogger(__name__)


class ItemAnnotations:
    """The marks of one release's items; patterns are read when a page asks for them first, and go with the release."""

    def __init__(self, release: Release) -> None:
        """Args: `release` whose items they are of."""
        self._column = release.items.verdicts(release.source.domain)
        self.patterns, self.problem = _patterns_of(release)

    def attribute(self, rows: np.ndarray) -> list[bool | None]:
        """Whether items have the attribute [n]; None where the catalogue does not say."""
        return [None] * len(rows) if self._column is None else self._column.take(pa.array(rows)).to_pylist()

    def pattern_of(self, rows: np.ndarray) -> int | None:
        """The pattern that most of the rows are in, of equals the first; None where patterns are not known."""
        return int(np.bincount(self.patterns[rows]).argmax()) if self.patterns is not None and len(rows) else None

    def in_pattern(self, rows: np.ndarray, pattern: int | None) -> list[bool | None]:
        """Whether items [n] are in a pattern; None where that is not known."""
        if self.patterns is None or pattern is None:
            return [None] * len(rows)
        return (self.patterns[rows] == pattern).tolist()

    def share(self) -> float | None:
        """Share of all items that have the attribute, in [0, 1]."""
        return None if self._column is None else pc.mean(self._column.cast(pa.int8())).as_py()


_of_releases: WeakKeyDictionary[Release, ItemAnnotations] = WeakKeyDictionary()
_loading = threading.Lock()


def annotations_of(release: Release) -> ItemAnnotations:
    """The marks of a release."""
    with _loading:
        if release not in _of_releases:
            _of_releases[release] = ItemAnnotations(release)
        return _of_releases[release]


def _patterns_of(release: Release) -> tuple[np.ndarray | None, str | None]:
    """Pattern of each item, int32 [N], or why there is none."""
    source = release.source
    try:
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            store = ArtifactStore(Storage(source.run_uri), Path(folder))
            name = f"{source.domain}.npz"
            with np.load(store.read("patterns", files=(name,)) / name) as stored:
                labels = stored["labels"]
    except (ArtifactError, OSError, KeyError, ValueError) as error:
        _logger.warning("%s: no patterns: %s", source.label, error)
        return None, "The patterns of this version cannot be read."
    if len(labels) != len(release.items.index):
        return (
            None,
            f"The patterns of this version are of {len(labels)} items, its index has {len(release.items.index)}.",
        )
    return labels, None
