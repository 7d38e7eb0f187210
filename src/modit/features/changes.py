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
from modit.features.rows import BATCH_ROWS, OfflineRows, RowFile, down_to_complete
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

    def __bool__(self) -> bool:
        return bool(len(self.rows) or len(self.removed))


def find_changes(table: FeatureTable, files: Sequence[RowFile], buckets: range = ALL_BUCKETS) -> Changes:
    """Compares a table with the state of its view, bit by bit.

    Args:
        table: what should be.
        files: of the view, newest first.
        buckets: in which the items of the table lie; rows of others are left out.
    """
    known = pd.Index(table.item_ids)
    differs = np.ones(len(table), bool)
    removed: list[np.ndarray] = []
    names = list(table.columns)
    for batch in newest_rows(files, ["item_id", *names], buckets=buckets):
        ids = _ids(batch)
        place, live = known.get_indexer(ids), _is_live(batch.column(1))
        removed.append(ids[(place < 0) & live])
        here = (place >= 0) & live
        same = [_same(batch[name], here, table.columns[name], place[here]) for name in names]
        differs[place[here]] = ~np.logical_and.reduce(same)
    return Changes(np.flatnonzero(differs), np.concatenate(removed) if removed else np.empty(0, dtype=str))


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
        shared = not set(file.buckets) <= set(buckets)
        for batch in file.batches(columns, rows):
            if shared:
                batch = batch.filter(pa.array(np.isin(bucket_of(batch["item_id"]), buckets)))
            ids = batch["item_id"].to_pylist()
            if seen:
                batch = batch.filter(pa.array([each not in seen for each in ids], pa.bool_()))
            if number < len(files) - 1:
                seen.update(ids)
            if len(batch):
                yield batch


def _ids(batch: pa.RecordBatch) -> np.ndarray:
    return np.array(batch["item_id"].to_pylist(), dtype=str)


def _is_live(column: pa.Array) -> np.ndarray:
    return column.is_valid().to_numpy(zero_copy_only=False)


def _same(column: pa.Array, here: np.ndarray, values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Bool [n]: whether the chosen rows of a column have the bits of rows of an array."""
    stored, expected = column.filter(pa.array(here)), np.ascontiguousarray(values[place])
    if values.ndim == 1:
        found = stored.to_numpy(zero_copy_only=False).astype(values.dtype)
        return _bits(found) == _bits(expected)
    same = pc.equal(pc.list_value_length(stored), values.shape[1]).to_numpy(zero_copy_only=False)
    found = stored.filter(pa.array(same)).flatten().to_numpy().reshape(-1, values.shape[1])
    same[same] = (_bits(found) == _bits(expected[same])).all(1)
    return same


def _bits(values: np.ndarray) -> np.ndarray:
    # One pattern for all NaNs: null comes back as another NaN than it went.
    plain = np.where(np.isnan(values), np.float32(np.nan), values) if values.dtype.kind == "f" else values
    return plain.view(f"u{values.dtype.itemsize}")


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
    files = down_to_complete(rows.files(table.view, buckets=buckets), buckets)
    changes = find_changes(table, files, buckets)
    if (expires and not (files and files[0].event == as_of)) or _is_much(changes, files, len(table), buckets):
        changes = Changes(np.arange(len(table)), changes.removed)
    if changes:
        rows.append(table, changes.rows, changes.removed, as_of, created, buckets)
        _read_back(rows, table, buckets)
    return changes


def _is_much(changes: Changes, files: Sequence[RowFile], items: int, buckets: range) -> bool:
    added = len(changes.rows) + len(changes.removed)
    return added > 0 and added + sum(_share(file, buckets) for file in files[:-1]) > items


def _share(file: RowFile, buckets: range) -> float:
    """How many of a file's rows are of some buckets, about: the number of shards may have changed since."""
    return file.count * len(set(file.buckets).intersection(buckets)) / len(file.buckets)


def _read_back(rows: OfflineRows, table: FeatureTable, buckets: range) -> None:
    files = down_to_complete(rows.files(table.view, buckets=buckets), buckets)
    wrong = find_changes(table, files, buckets)
    if wrong:
        ids = [*table.item_ids[wrong.rows].tolist(), *wrong.removed.tolist()]
        raise FeatureParityError(f"{table.view}: {len(ids)} of {len(table)} items differ offline: {shown(ids)}")
