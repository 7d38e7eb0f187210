"""What a night changes in the offline rows of a view, found by comparing them with the run's table bit by bit.

Memory is that of the ids: rows are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import FeatureParityError
from modit.core.step import ALL_BUCKETS
from modit.data.hashing import bucket_of
from modit.features.lookup import shown
from modit.features.rows import BATCH_ROWS, OfflineRows, RowFile
from modit.features.tables import FeatureTable


@dataclass(frozen=True)
class Changes:
    """The rows that must be written so that the newest rows equal a table.

    Attributes:
        rows: int64 [n], rows of the table that are new or differ in a bit.
        removed: unicode [r], items that the rows have and the table has not.
    """

    rows: np.ndarray
    removed: np.ndarray

    def __len__(self) -> int:
        return len(self.rows) + len(self.removed)


def append_night(
    rows: OfflineRows,
    table: FeatureTable,
    as_of: datetime,
    created: datetime,
    expires: bool = False,
    buckets: range = ALL_BUCKETS,
) -> Changes:
    """Appends what makes the newest rows of a view equal to a table; a second call appends nothing.

    All items are written where rows expire, and when the rows since the last file with all of them would be more than
    the items. So a reader of the newest state reads each item twice at most, however many nights there are.

    Args:
        rows: the offline store.
        table: of the view.
        as_of: the instant of the night, UTC.
        created: now, UTC.
        expires: whether the view has a time to live.
        buckets: in which the items of the table lie; those of others are left as they are.

    Returns:
        What was written.

    Raises:
        FeatureParityError: what was written is read back otherwise.
    """
    files = down_to_complete(rows.files(table.view, buckets), buckets)
    changes = find_changes(table, files, buckets)
    # Of a file's rows those of these buckets, about: the number of shards may have changed since.
    shares = (each.count * len(set(each.buckets) & set(buckets)) / len(each.buckets) for each in files[:-1])
    is_much = len(changes) > 0 and len(changes) + sum(shares) > len(table)
    if is_much or (expires and not (files and files[0].event == as_of)):
        changes = Changes(np.arange(len(table)), changes.removed)
    if changes:
        rows.append(table, changes.rows, changes.removed, as_of, created, buckets)
        if wrong := find_changes(table, down_to_complete(rows.files(table.view, buckets), buckets), buckets):
            ids = [*table.item_ids[wrong.rows].tolist(), *wrong.removed.tolist()]
            raise FeatureParityError(f"{table.view}: {len(ids)} of {len(table)} items differ offline: {shown(ids)}")
    return changes


def down_to_complete(files: Sequence[RowFile], buckets: range = ALL_BUCKETS) -> list[RowFile]:
    """Those of some files, newest first, that say the state of every item of some buckets: the rest is history."""
    left = set(buckets)
    for number, file in enumerate(files, start=1):
        left -= set(file.buckets) if file.complete else set()
        if not left:
            return list(files[:number])
    return list(files)


def find_changes(table: FeatureTable, files: Sequence[RowFile], buckets: range = ALL_BUCKETS) -> Changes:
    """Compares a table with the state of its view, bit by bit.

    Args:
        table: what should be.
        files: of the view, newest first.
        buckets: in which the items of the table lie; rows of others are left out.
    """
    known, names = pd.Index(table.item_ids), list(table.columns)
    differs = np.ones(len(table), bool)
    removed = [np.empty(0, dtype=str)]
    for batch in newest_rows(files, ["item_id", *names], buckets=buckets):
        ids = np.array(batch["item_id"].to_pylist(), dtype=str)
        place, live = known.get_indexer(ids), batch.column(1).is_valid().to_numpy(zero_copy_only=False)
        removed.append(ids[(place < 0) & live])
        here = (place >= 0) & live
        same = [same_bits(batch[name].filter(pa.array(here)), table.columns[name][place[here]]) for name in names]
        differs[place[here]] = ~np.logical_and.reduce(same)
    return Changes(np.flatnonzero(differs), np.concatenate(removed))


def newest_rows(
    files: Sequence[RowFile],
    columns: list[str] | None = None,
    rows: int = BATCH_ROWS,
    buckets: range = ALL_BUCKETS,
) -> Iterator[pa.RecordBatch]:
    """Streams the newest row of every item.

    Args:
        files: newest first.
        columns: to read, `item_id` first; all if None.
        rows: most rows of a batch.
        buckets: leaves out the items of others.
    """
    seen: set[str] = set()
    for number, file in enumerate(files):
        has_others = not set(file.buckets) <= set(buckets)
        for batch in file.batches(columns, rows):
            if has_others:
                batch = batch.filter(pa.array(np.isin(bucket_of(batch["item_id"]), buckets)))
            ids = batch["item_id"].to_pylist()
            if seen:
                batch = batch.filter(pa.array([each not in seen for each in ids], pa.bool_()))
            if number < len(files) - 1:
                seen.update(ids)
            if len(batch):
                yield batch


def same_bits(stored: pa.Array, expected: np.ndarray) -> np.ndarray:
    """Bool [n]: whether the values of a column have the bits of those of an array [n] or [n, d]; null is NaN."""
    if expected.ndim == 2:
        same = _true(pc.equal(pc.list_value_length(stored), expected.shape[1]))
        found = stored.filter(pa.array(same)).flatten().to_numpy().reshape(-1, expected.shape[1])
        same[same] = (_bits(found) == _bits(expected[same])).all(1)
        return same
    if expected.dtype.kind == "f":
        return _bits(stored.to_numpy(zero_copy_only=False)) == _bits(expected)
    return _true(pc.equal(stored, pa.array(expected)))


def _true(found: pa.BooleanArray) -> np.ndarray:
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


def _bits(values: np.ndarray) -> np.ndarray:
    # One pattern for all NaNs: null comes back as another NaN than it went.
    return np.where(np.isnan(values), np.float32(np.nan), values).view(f"u{values.dtype.itemsize}")
