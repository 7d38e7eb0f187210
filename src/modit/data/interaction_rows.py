"""The stream of interaction rows: window, nulls, unknown items and duplicates; what is left, in order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.parts import Part, stream
from modit.data.quarantine import Quarantine

BATCH_ROWS = 250_000


@dataclass(frozen=True)
class InteractionRows:
    """Interactions as numbers, 24 bytes a row.

    Attributes:
        sequence: int32 [T], number of the sequence in order of first appearance.
        item: int32 [T], row of the catalogue.
        key: int64 [T], position, or timestamp in microseconds.
        row: int64 [T], row number over all parts.
    """

    sequence: np.ndarray
    item: np.ndarray
    key: np.ndarray
    row: np.ndarray

    def take(self, chosen: np.ndarray) -> InteractionRows:
        """The rows under an index or a mask."""
        return InteractionRows(self.sequence[chosen], self.item[chosen], self.key[chosen], self.row[chosen])


class InteractionReader:
    """Reads parts and sets aside what breaks a rule.

    Ids are dictionary-encoded as they stream by and looked up once at the end: the cost does not grow with the number
    of daily partitions times the number of items.

    Args:
        parts: the files, whose schemas are checked.
        order: `timestamp` or `position`.
        window: start and end of the time to read, None for open.
        aside: where bad rows go.
    """

    def __init__(
        self, parts: list[Part], order: str, window: tuple[datetime | None, datetime | None], aside: Quarantine
    ) -> None:
        self.outside_window = 0
        self._parts = parts
        self._order = order
        self._window = window
        self._aside = aside
        self._starts = np.cumsum([0, *(part.rows for part in parts)])

    def read(self, item_ids: np.ndarray) -> InteractionRows:
        """Reads all parts.

        Args:
            item_ids: unicode [N], the ids of the catalogue.

        Returns:
            The good rows, sorted by (sequence, key, row).
        """
        rows, sequence_ids, seen_items = self._encode()
        catalog_row = pc.index_in(seen_items, value_set=pa.array(item_ids.tolist(), pa.large_string()))
        names = (sequence_ids, seen_items)
        rows = self._set_aside(rows, catalog_row.is_null().to_numpy(False)[rows.item], "unknown_item", names)
        rows = self._set_aside(rows, _repeated(rows), "duplicate_interaction", names)
        rows = rows.take(np.lexsort((rows.row, rows.key, rows.sequence)))
        known = catalog_row.fill_null(-1).to_numpy().astype(np.int32)
        return InteractionRows(rows.sequence, known[rows.item], rows.key, rows.row)

    def _encode(self) -> tuple[InteractionRows, pa.Array, pa.Array]:
        nothing = pa.array([], pa.large_string()).dictionary_encode()
        sequences, items = [nothing], [nothing]
        keys, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for part, offset in zip(self._parts, self._starts[:-1], strict=True):
            for start, batch in stream(part, ["sequence_id", "item_id", self._order], BATCH_ROWS):
                good, row = self._without_nulls(part, start, batch)
                sequences.append(good["sequence_id"].dictionary_encode())
                items.append(good["item_id"].dictionary_encode())
                keys.append(self._key(good[self._order]))
                rows.append(offset + row)
        sequence, sequence_ids = _unify(sequences)
        item, seen_items = _unify(items)
        return InteractionRows(sequence, item, np.concatenate(keys), np.concatenate(rows)), sequence_ids, seen_items

    def _without_nulls(self, part: Part, start: int, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray]:
        text = {name: batch[name].cast(pa.large_string()) for name in ("sequence_id", "item_id")}
        batch = pa.record_batch({**text, self._order: batch[self._order]})
        row = start + np.arange(batch.num_rows)
        inside = self._inside(batch[self._order])
        self.outside_window += int((~inside).sum())
        batch, row = _keep(batch, row, inside)
        for name in batch.schema.names:
            null = batch[name].is_null().to_numpy(False)
            refused, refused_row = _keep(batch, row, null)
            values = {column: refused[column] for column in refused.schema.names}
            self._aside.add("null_in_interaction", part.name, refused_row, values, name)
            batch, row = _keep(batch, row, ~null)
        return batch, row

    def _inside(self, column: pa.Array) -> np.ndarray:
        inside = np.ones(len(column), dtype=bool)
        for limit, compare in zip(self._window, (pc.greater_equal, pc.less), strict=True):
            if limit is not None:
                bound = pa.scalar(limit).cast(pa.timestamp("us", tz=column.type.tz))
                # a row without a time is in no window; it stays, to be quarantined
                inside &= pc.fill_null(compare(column, bound), True).to_numpy(False)
        return inside

    def _key(self, column: pa.Array) -> np.ndarray:
        if self._order == "timestamp":
            column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        return column.cast(pa.int64()).to_numpy(False)

    def _set_aside(
        self, rows: InteractionRows, bad: np.ndarray, rule: str, names: tuple[pa.Array, pa.Array]
    ) -> InteractionRows:
        refused = rows.take(bad)
        for part, start, end in zip(self._parts, self._starts[:-1], self._starts[1:], strict=True):
            here = refused.take((refused.row >= start) & (refused.row < end))
            key = pa.array(here.key, pa.int64())
            values = {
                "sequence_id": names[0].take(pa.array(here.sequence)),
                "item_id": names[1].take(pa.array(here.item)),
                self._order: key.cast(pa.timestamp("us")) if self._order == "timestamp" else key,
            }
            self._aside.add(rule, part.name, here.row - start, values, "item_id")
        return rows.take(~bad) if bad.any() else rows


def _repeated(rows: InteractionRows) -> np.ndarray:
    """True for every row after the first of the same sequence, key and item."""
    grouped = np.lexsort((rows.row, rows.item, rows.key, rows.sequence))
    same = np.ones(max(len(grouped) - 1, 0), dtype=bool)
    for column in (rows.sequence, rows.key, rows.item):
        same &= column[grouped[1:]] == column[grouped[:-1]]
    repeated = np.zeros(len(grouped), dtype=bool)
    repeated[grouped[1:][same]] = True
    return repeated


def _unify(chunks: list[pa.Array]) -> tuple[np.ndarray, pa.Array]:
    encoded = pa.chunked_array(chunks).unify_dictionaries()
    return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]), encoded.chunk(0).dictionary


def _keep(batch: pa.RecordBatch, row: np.ndarray, mask: np.ndarray) -> tuple[pa.RecordBatch, np.ndarray]:
    return (batch, row) if mask.all() else (batch.filter(pa.array(mask)), row[mask])
