"""Reads the interaction table into sequences of catalogue rows; bad rows go to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import ConfigError
from modit.data.catalog import Sequences
from modit.data.contract import check_interactions
from modit.data.parts import Part, find_parts, stream
from modit.data.problems import ProblemLog
from modit.data.quarantine import Quarantine

# The id lookup builds a hash table of all items once a batch, so batches are large.
BATCH_ROWS = 1_000_000
MINIMUM_LENGTH = 2


@dataclass(frozen=True)
class Window:
    """Which interactions to read, by time: `start <= timestamp < end`; None leaves that side open.

    Naive times are compared with the stored values as they are; aware ones are converted to UTC.
    """

    start: datetime | None = None
    end: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.start is None and self.end is None


@dataclass(frozen=True)
class Tolerance:
    """Largest share of the rows read, in [0, 1], that each quarantine rule may catch before the input is refused."""

    unknown_item_share_max: float = 0.05
    null_share_max: float = 0.01
    duplicate_share_max: float = 0.05

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"{name} must be in [0, 1], is {share}")

    def by_rule(self) -> dict[str, float]:
        """Rule name -> largest share."""
        return {
            "unknown_item": self.unknown_item_share_max,
            "null_in_interaction": self.null_share_max,
            "duplicate_interaction": self.duplicate_share_max,
        }


@dataclass
class InteractionCounts:
    """What happened to the rows: `rows` = `outside_window` + quarantined + `in_short_sequences` + `kept`."""

    rows: int = 0
    outside_window: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    short_sequences_dropped: int = 0
    in_short_sequences: int = 0
    sequences: int = 0
    kept: int = 0


def read_interactions(
    source: Path, item_ids: np.ndarray, quarantine: Path, window: Window, tolerance: Tolerance
) -> tuple[Sequences, InteractionCounts]:
    """Reads and checks `interactions`.

    A sequence is ordered by its timestamp or position; ties keep the order of the input. Sequences come in the order
    in which they first appear, and those with fewer than two items are dropped and counted.

    Args:
        source: the input folder.
        item_ids: unicode [N], the ids of the catalogue.
        quarantine: folder for the rows that break a rule.
        window: the part of time to read.
        tolerance: how much quarantine is too much.

    Raises:
        ContractError: the schema is wrong, too many rows are quarantined, or no sequence is left.
    """
    parts = find_parts(source, "interactions")
    order = check_interactions(parts)
    if order == "position" and not window.is_open:
        _refuse("one_order_column", parts[0], "a window of time needs the column timestamp, and there is position")
    counts = InteractionCounts(rows=sum(part.rows for part in parts))
    with Quarantine(quarantine, order) as aside:
        reader = _InteractionReader(parts, order, item_ids, window, aside, counts)
        table = reader.read()
        in_window = counts.rows - counts.outside_window
        counts.quarantined = aside.counts
        if in_window:
            aside.refuse_beyond(tolerance.by_rule(), in_window)
    sequences = _assemble(table, counts)
    if counts.sequences == 0:
        detail = f"{counts.rows} rows, {in_window} in the window, {counts.short_sequences_dropped} sequences too short"
        _refuse("interactions_not_empty", parts[0], detail)
    return sequences, counts


@dataclass(frozen=True)
class _Rows:
    """Interactions that passed: sequence number, catalogue row, order key, each [T], sorted by (sequence, key, row)."""

    sequence: np.ndarray
    item: np.ndarray
    key: np.ndarray


class _InteractionReader:
    def __init__(
        self,
        parts: list[Part],
        order: str,
        item_ids: np.ndarray,
        window: Window,
        aside: Quarantine,
        counts: InteractionCounts,
    ) -> None:
        self._parts = parts
        self._order = order
        self._ids = pa.array(item_ids.tolist(), pa.large_string())
        self._window = window
        self._aside = aside
        self._counts = counts
        self._starts = np.cumsum([0, *(part.rows for part in parts)])

    def read(self) -> _Rows:
        sequences: list[pa.Array] = [pa.array([], pa.large_string()).dictionary_encode()]
        items, keys, rows = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for part, offset in zip(self._parts, self._starts[:-1], strict=True):
            for start, batch in stream(part, ["sequence_id", "item_id", self._order], BATCH_ROWS):
                good, item, row = self._filter(part, start, batch)
                sequences.append(good["sequence_id"].dictionary_encode())
                items.append(item)
                keys.append(self._key(good))
                rows.append(offset + row)
        encoded = pa.chunked_array(sequences).unify_dictionaries()
        sequence = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
        table = _Rows(sequence, np.concatenate(items), np.concatenate(keys))
        return self._without_duplicates(table, np.concatenate(rows), encoded.chunk(0).dictionary)

    def _filter(self, part: Part, start: int, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray, np.ndarray]:
        text = {name: batch[name].cast(pa.large_string()) for name in ("sequence_id", "item_id")}
        batch = pa.record_batch({**text, self._order: batch[self._order]})
        row = start + np.arange(batch.num_rows)
        batch, row = _keep(batch, row, self._inside(batch))
        self._counts.outside_window += len(text["item_id"]) - len(row)
        for name in batch.schema.names:
            batch, row = self._set_aside(batch, row, batch[name].is_null(), "null_in_interaction", part, name)
        item = pc.index_in(batch["item_id"], value_set=self._ids)
        batch, row = self._set_aside(batch, row, item.is_null(), "unknown_item", part, "item_id")
        return batch, item.drop_null().to_numpy(), row

    def _inside(self, batch: pa.RecordBatch) -> np.ndarray:
        inside = np.ones(batch.num_rows, dtype=bool)
        for limit, compare in ((self._window.start, pc.greater_equal), (self._window.end, pc.less)):
            if limit is not None:
                column = batch[self._order]
                bound = pa.scalar(limit).cast(pa.timestamp("us", tz=column.type.tz))
                # a row without a time is in no window; it stays, to be quarantined
                inside &= pc.fill_null(compare(column, bound), True).to_numpy(zero_copy_only=False)
        return inside

    def _set_aside(
        self, batch: pa.RecordBatch, row: np.ndarray, bad: pa.Array, rule: str, part: Part, column: str
    ) -> tuple[pa.RecordBatch, np.ndarray]:
        mask = bad.to_numpy(zero_copy_only=False)
        if not mask.any():
            return batch, row
        refused, refused_row = _keep(batch, row, mask)
        values = {name: refused[name] for name in refused.schema.names}
        self._aside.add(rule, part.name, refused_row, values, column)
        return _keep(batch, row, ~mask)

    def _key(self, batch: pa.RecordBatch) -> np.ndarray:
        column = batch[self._order]
        if self._order == "timestamp":
            column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        return column.cast(pa.int64()).to_numpy(zero_copy_only=False)

    def _without_duplicates(self, table: _Rows, row: np.ndarray, sequence_ids: pa.Array) -> _Rows:
        grouped = np.lexsort((row, table.item, table.key, table.sequence))
        same = np.ones(max(len(grouped) - 1, 0), dtype=bool)
        for column in (table.sequence, table.key, table.item):
            same &= column[grouped[1:]] == column[grouped[:-1]]
        repeated = np.sort(grouped[1:][same])
        for part, start, end in zip(self._parts, self._starts[:-1], self._starts[1:], strict=True):
            chosen = repeated[(row[repeated] >= start) & (row[repeated] < end)]
            values = {
                "sequence_id": sequence_ids.take(pa.array(table.sequence[chosen])),
                "item_id": self._ids.take(pa.array(table.item[chosen])),
                self._order: self._order_values(table.key[chosen]),
            }
            self._aside.add("duplicate_interaction", part.name, row[chosen] - start, values, "item_id")
        good = np.ones(len(row), dtype=bool)
        good[repeated] = False
        kept = np.flatnonzero(good)
        kept = kept[np.lexsort((row[kept], table.key[kept], table.sequence[kept]))]
        return _Rows(table.sequence[kept], table.item[kept], table.key[kept])

    def _order_values(self, keys: np.ndarray) -> pa.Array:
        values = pa.array(keys, pa.int64())
        return values.cast(pa.timestamp("us")) if self._order == "timestamp" else values


def _keep(batch: pa.RecordBatch, row: np.ndarray, mask: np.ndarray) -> tuple[pa.RecordBatch, np.ndarray]:
    return (batch, row) if mask.all() else (batch.filter(pa.array(mask)), row[mask])


def _assemble(table: _Rows, counts: InteractionCounts) -> Sequences:
    lengths = np.bincount(table.sequence)
    long_enough = lengths >= MINIMUM_LENGTH
    items = table.item[long_enough[table.sequence]]
    counts.sequences = int(long_enough.sum())
    counts.short_sequences_dropped = int(((lengths > 0) & ~long_enough).sum())
    counts.kept = len(items)
    counts.in_short_sequences = len(table.item) - len(items)
    offsets = np.concatenate([[0], np.cumsum(lengths[long_enough])]).astype(np.int64)
    return Sequences(offsets, items.astype(np.int32))


def _refuse(rule: str, part: Part, detail: str) -> None:
    problems = ProblemLog()
    problems.add(rule, part.name, detail=detail)
    problems.raise_if_any()
