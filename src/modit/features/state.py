"""The state of a view: what its rows say of each item, and what a table changes of it. Memory is that of the ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import UnknownItemError
from modit.core.step import ALL_BUCKETS
from modit.data.hashing import bucket_of
from modit.features.lookup import EMBEDDING_VIEW, shown
from modit.features.rows import BATCH_ROWS, OfflineRows, RowFile, down_to_complete
from modit.features.tables import FeatureTable


@dataclass(frozen=True)
class Changes:
    """What must be written for the rows to say what a table says.

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


def item_matrix(
    rows: OfflineRows, item_ids: np.ndarray, as_of: datetime | None = None, known_at: datetime | None = None
) -> np.ndarray:
    """The embeddings of items in bulk, from the rows that Feast serves.

    Args:
        rows: the offline store.
        item_ids: unicode [n], the order of the result.
        as_of: what was true then; the newest if None.
        known_at: by what was written until then; everything if None.

    Returns:
        float32 [n, d].

    Raises:
        UnknownItemError: an item was not there, or was removed.
    """
    wanted, found = pd.Index(item_ids), np.zeros(len(item_ids), bool)
    matrix: np.ndarray | None = None
    files = down_to_complete(rows.files(EMBEDDING_VIEW, as_of, known_at))
    for batch in newest_rows(files, ["item_id", "embedding"]):
        place = wanted.get_indexer(_ids(batch))
        here = (place >= 0) & _is_live(batch["embedding"])
        if not here.any():
            continue
        values = batch["embedding"].filter(pa.array(here)).flatten().to_numpy().reshape(int(here.sum()), -1)
        matrix = np.empty((len(item_ids), values.shape[1]), np.float32) if matrix is None else matrix
        matrix[place[here]], found[place[here]] = values, True
    if matrix is None or not found.all():
        missing = np.asarray(item_ids)[~found]
        raise UnknownItemError(f"{len(missing)} items have no embedding as of {as_of or 'now'}: {shown(missing)}")
    return matrix


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
