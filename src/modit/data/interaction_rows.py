"""The stream of interaction rows: window, nulls, times, unknown items and duplicates; what is left, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.codes import Codes, encoded, is_word, ordered_by, repeats
from modit.data.parts import Part, stream
from modit.data.positions import Positions
from modit.data.quarantine import Quarantine
from modit.data.window import TimeRules, microseconds

BATCH_ROWS = 1 << 19
# Rows that are sorted at once: what sorting needs beside the rows does not grow with the log.
SORTED_ROWS = 1 << 24
_TEXTS = ("sequence_id", "item_id")
_BATCHES_AHEAD = 3
# Number of the file, first row in it, the columns of ids while they are encoded, the batch.
_Waiting = tuple[int, int, list["Future[pa.DictionaryArray]"], pa.RecordBatch]


@dataclass(frozen=True)
class InteractionRows:
    """Interactions as numbers, 16 bytes a row.

    Attributes:
        sequence: int32 [T], number of the sequence in order of first appearance.
        item: int32 [T], row of the catalogue.
        key: int64 [T], position, or timestamp in microseconds.
    """

    sequence: np.ndarray
    item: np.ndarray
    key: np.ndarray

    def take(self, chosen: np.ndarray | slice) -> InteractionRows:
        """The rows under an index, a mask or a slice."""
        return InteractionRows(self.sequence[chosen], self.item[chosen], self.key[chosen])

    @classmethod
    def joined(cls, several: list[InteractionRows]) -> InteractionRows:
        """All rows of several, which are emptied on the way, column by column."""
        columns = [np.concatenate([getattr(rows, name) for rows in several]) for name in ("sequence", "item", "key")]
        several.clear()
        return cls(*columns)


class InteractionReader:
    """Reads parts and sets aside what breaks a rule.

    Args:
        parts: the files, whose schemas are checked.
        order: `timestamp` or `position`.
        times: the window, and what a row's time must look like.
        aside: where bad rows go.
    """

    def __init__(self, parts: list[Part], order: str, times: TimeRules, aside: Quarantine) -> None:
        self.outside_window = 0
        self.unordered = 0
        self._parts, self._order, self._times, self._aside = parts, order, times, aside
        self._sequences, self._items = Codes(), Codes()
        self._keys: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._positions = Positions([part.rows for part in parts])
        self._waiting: deque[_Waiting] = deque()

    def read(self, item_ids: np.ndarray) -> InteractionRows:
        """Reads all parts.

        Args:
            item_ids: unicode [N], the ids of the catalogue.

        Returns:
            The good rows, sorted by sequence and key; ties keep the order of the input.
        """
        with ThreadPoolExecutor(len(_TEXTS)) as self._pool:
            for number, part in enumerate(self._parts):
                self._read_part(number, part)
            while self._waiting:
                self._take_first()
            finished = self._pool.map(Codes.finish, (self._sequences, self._items))
            (sequence, sequence_ids), (item, seen_items) = finished
        rows = InteractionRows(sequence, item, np.concatenate(self._keys))
        self._keys.clear()
        names = (sequence_ids, seen_items)
        catalog_row = pc.index_in(seen_items, value_set=pa.array(item_ids.tolist(), pa.large_string()))
        position = None
        if catalog_row.null_count:
            unknown = catalog_row.is_null().to_numpy(zero_copy_only=False)[rows.item]
            self._set_aside("unknown_item", rows, np.arange(len(item)), unknown, names)
            rows, position = rows.take(~unknown), np.flatnonzero(~unknown)
        known = catalog_row.fill_null(-1).to_numpy().astype(np.int32)
        ranges = [self._in_order(rows, position, chosen, names) for chosen in _ranges(rows.sequence)]
        rows = ranges[0] if len(ranges) == 1 else InteractionRows.joined(ranges)
        return InteractionRows(rows.sequence, known[rows.item], rows.key)

    def _in_order(
        self,
        rows: InteractionRows,
        position: np.ndarray | None,
        chosen: np.ndarray | slice,
        names: tuple[pa.Array, pa.Array],
    ) -> InteractionRows:
        """Rows of some sequences in order, without repeats."""
        here = rows.take(chosen)
        order = ordered_by(here.sequence, here.key)
        here = here.take(order)
        repeated = repeats((here.sequence, here.key), here.item)
        if repeated is None:
            return here
        places = order if isinstance(chosen, slice) else chosen[order]
        self._set_aside(
            "duplicate_interaction", here, places if position is None else position[places], repeated, names
        )
        return here.take(~repeated)

    def _read_part(self, number: int, part: Part) -> None:
        columns = [*_TEXTS, self._order]
        groups = self._times.window.row_groups(part) if self._order == "timestamp" else None
        seen = 0
        for start, batch in stream(part, columns, BATCH_ROWS, groups, _TEXTS):
            # encoding goes on beside the decoding of the next batches, a few at a time
            self._waiting.append((number, start, [self._pool.submit(encoded, batch[name]) for name in _TEXTS], batch))
            if len(self._waiting) > _BATCHES_AHEAD:
                self._take_first()
            seen += batch.num_rows
        self.outside_window += part.rows - seen

    def _take_first(self) -> None:
        number, start, futures, batch = self._waiting.popleft()
        sequence, item = (future.result() for future in futures)
        fresh = [not pa.types.is_dictionary(batch[name].type) for name in _TEXTS]
        self._take(number, start, sequence, item, batch[self._order], fresh)

    def _take(
        self, number: int, start: int, sequence: pa.Array, item: pa.Array, moment: pa.Array, fresh: list[bool]
    ) -> None:
        key = self._key(moment)
        kept = np.ones(len(key), dtype=bool)
        known = moment.is_valid().to_numpy(zero_copy_only=False) if moment.null_count else None
        outside = self._times.outside(self._parts[number], key, known) if self._order == "timestamp" else None
        if outside is not None:
            self.outside_window += int(outside.sum())
            kept &= ~outside
        for rule, column, bad in self._breaches(self._parts[number], sequence, item, moment, key):
            caught = np.flatnonzero(bad & kept)
            values = {"sequence_id": sequence, "item_id": item, self._order: moment}
            values = {name: array.take(pa.array(caught)) for name, array in values.items()}
            self._aside.add(rule, self._parts[number].name, start + caught, values, column)
            kept &= ~bad
        rows = None if kept.all() else np.flatnonzero(kept)
        if rows is not None:
            sequence, item, key = sequence.take(pa.array(rows)), item.take(pa.array(rows)), key[rows]
        self.unordered += int((key[1:] < key[:-1]).sum()) if self._order == "timestamp" else 0
        self._sequences.add(sequence, rows is None and fresh[0])
        self._items.add(item, rows is None and fresh[1])
        self._keys.append(key)
        self._positions.add(number, start, len(kept), rows)

    def _breaches(
        self, part: Part, sequence: pa.Array, item: pa.Array, moment: pa.Array, key: np.ndarray
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        for name, column in (("sequence_id", sequence), ("item_id", item), (self._order, moment)):
            if column.null_count:
                yield "null_in_interaction", name, column.is_null().to_numpy(zero_copy_only=False)
        empty = is_word(sequence, "")
        if empty is not None:
            yield "empty_sequence_id", "sequence_id", empty
        if self._order == "timestamp":
            for rule, bad in self._times.breaches(part, key):
                yield rule, "timestamp", bad

    def _key(self, column: pa.Array) -> np.ndarray:
        if self._order == "timestamp":
            return microseconds(column)
        values = column.cast(pa.int64())
        return (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)

    def _set_aside(
        self, rule: str, rows: InteractionRows, position: np.ndarray, bad: np.ndarray, names: tuple[pa.Array, pa.Array]
    ) -> None:
        refused, position = rows.take(bad), position[bad]
        order = np.argsort(position, kind="stable")
        refused, position = refused.take(order), position[order]
        for number, chosen, file_rows in self._positions.files(position):
            here = refused.take(chosen)
            key = pa.array(here.key, pa.int64())
            values = {
                "sequence_id": names[0].take(pa.array(here.sequence)),
                "item_id": names[1].take(pa.array(here.item)),
                self._order: key.cast(pa.timestamp("us")) if self._order == "timestamp" else key,
            }
            self._aside.add(rule, self._parts[number].name, file_rows, values, "item_id")


def _ranges(sequence: np.ndarray) -> Iterator[np.ndarray | slice]:
    """Yields the rows of one range of sequences after the other, each of about `SORTED_ROWS` rows."""
    if len(sequence) <= SORTED_ROWS:
        yield slice(None)
        return
    ends = np.cumsum(np.bincount(sequence))
    cuts = np.searchsorted(ends, np.arange(SORTED_ROWS, len(sequence), SORTED_ROWS)) + 1
    edges = np.unique([0, *cuts.tolist(), len(ends)])
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        yield np.flatnonzero((sequence >= low) & (sequence < high))
