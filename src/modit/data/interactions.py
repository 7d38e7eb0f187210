"""Reads the interaction table into sequences of catalogue rows; bad rows go to the quarantine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modit.data.catalog import Sequences
from modit.data.mapping import TableLayout
from modit.data.measurements import Measurement, measured
from modit.data.problems import breach
from modit.data.rules import first_broken, interaction_checks
from modit.data.table import Ingest, RowCounts, Table

MINIMUM_LENGTH = 2


@dataclass
class InteractionCounts(RowCounts):
    """What happened to the rows: `rows` = `outside_window` + quarantined + `in_short_sequences` + `kept`."""

    short_sequences_dropped: int = 0
    in_short_sequences: int = 0
    sequences: int = 0


@dataclass(frozen=True)
class InteractionRows:
    """The good rows: of sequence s `offsets[s]` to before `offsets[s + 1]`, those of short sequences at the end.

    Attributes:
        offsets: int64 [S + 1], increasing.
        item: int32 [T], row of the catalogue.
        key: int64 [T], position, or timestamp in microseconds.
    """

    offsets: np.ndarray
    item: np.ndarray
    key: np.ndarray

    @classmethod
    def none(cls) -> InteractionRows:
        """No row at all."""
        return cls(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Interactions:
    """What the table `interactions` gave; the defaults are those of an input without the table.

    Attributes:
        counts: what happened to the rows.
        rows: the good rows, those of short sequences too.
        order: `timestamp` or `position`; "" where the input has no interactions.
        measurements: one for each rule that was measured.
        layout: the table as it was understood; None where the input has no interactions.
    """

    counts: InteractionCounts = field(default_factory=InteractionCounts)
    rows: InteractionRows = field(default_factory=InteractionRows.none)
    order: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    layout: TableLayout | None = None

    @property
    def sequences(self) -> Sequences:
        """The rows of sequences that are long enough."""
        kept = self.counts.kept
        times = self.rows.key[:kept] if self.order == "timestamp" else None
        return Sequences(self.rows.offsets[: self.counts.sequences + 1], self.rows.item[:kept], times)


def read_interactions(ingest: Ingest) -> Interactions:
    """Reads and checks `interactions`.

    A sequence is ordered by its timestamp or position; ties keep the order of the input. Sequences come in the order
    in which they first appear, and those with fewer than two items are dropped and counted.

    Raises:
        ContractError: the columns are not those of the contract, or a file cannot be read.
    """
    table, engine = Table("interactions", ingest), ingest.engine
    order = table.layout.order
    if order == "position" and not ingest.window.is_open:
        detail = "a window of time needs the column timestamp, and there is position"
        raise breach("one_order_column", table.layout.files[0].name, detail=detail)
    checks = interaction_checks(order, ingest.window.overlap_days)
    # the place of an unknown item counts for the order of sequences and of time
    placed = f"broken IS NULL OR broken = {[check.rule for check in checks].index('unknown_item')}"
    with table.decoding():
        engine.run(
            f"CREATE OR REPLACE TABLE staged AS SELECT pos, sequence_id, item, {order} AS key, "
            f"{first_broken(checks[:-1])} AS broken, CASE WHEN item IS NULL THEN item_id END AS item_id, "
            f"{order}_text AS key_text {table.rows_in_window('LEFT JOIN items USING (item_id)')}"
        )
    engine.run(_SEQUENCES.format(placed=placed))
    counts = InteractionCounts(rows=table.count())
    rows, repeats = _assemble(engine.batches(_ORDERED), engine.folder, counts)
    engine.save("repeats", pa.table({"pos": repeats}))
    text = "CAST(make_timestamp(key) AS VARCHAR)" if order == "timestamp" else "CAST(key AS VARCHAR)"
    engine.run(_REFUSED.format(is_repeat=len(checks) - 1, key=f"coalesce(key_text, {text}) AS {order}"))
    in_window = engine.value("SELECT count(*) FROM staged")
    counts.outside_window = counts.rows - in_window
    counts.quarantined, measurements = table.set_aside("refused", list(table.layout.columns), checks, in_window)
    if order == "timestamp" and in_window:
        late = engine.value(_OUT_OF_ORDER.format(placed=placed))
        measurements.append(measured("interactions", "time_order", late / in_window, ingest.params, late, in_window))
    return Interactions(counts, rows, order, measurements, table.layout)


# Sequences are numbered in the order in which they first appear.
_SEQUENCES = """
CREATE OR REPLACE TABLE sequences AS
SELECT sequence_id, CAST(row_number() OVER (ORDER BY min(pos)) - 1 AS INTEGER) AS sequence
FROM staged WHERE {placed} GROUP BY sequence_id
"""
_ORDERED = """
SELECT sequence, key, pos, item FROM staged JOIN sequences USING (sequence_id) WHERE broken IS NULL
ORDER BY sequence, key, pos
"""
_REFUSED = """
CREATE OR REPLACE TABLE refused AS
SELECT pos, coalesce(broken, {is_repeat}) AS broken, sequence_id,
    coalesce(staged.item_id, items.item_id) AS item_id, {key}
FROM staged LEFT JOIN repeats USING (pos) LEFT JOIN items USING (item)
WHERE broken IS NOT NULL OR repeats.pos IS NOT NULL
"""
# Rows older than the row above them in their file.
_OUT_OF_ORDER = """
SELECT count(*) FILTER (key < above AND part = part_above) FROM (
    SELECT key, lag(key) OVER () AS above, pos >> 40 AS part, lag(pos >> 40) OVER () AS part_above
    FROM staged WHERE {placed}
)
"""


def _assemble(
    ordered: Iterator[pa.RecordBatch], folder: Path, counts: InteractionCounts
) -> tuple[InteractionRows, np.ndarray]:
    """Brings ordered rows to disk, sequences that are too short behind the others, and counts both kinds.

    Returns:
        The rows, and int64 [n], the positions of repeats, which are left out.
    """
    lengths, repeats = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    with ExitStack() as files:
        item, key, short_item, short_key = (
            _ArrayFile(files.enter_context(tempfile.TemporaryFile(dir=folder)), kind)
            for kind in (np.int32, np.int64, np.int32, np.int64)
        )
        for rows in _whole_sequences(ordered):
            repeated = _repeats(rows)
            repeats.append(rows[_POS, repeated])
            rows = rows[:, ~repeated]
            starts = np.flatnonzero(np.diff(rows[_SEQUENCE], prepend=-1))
            length = np.diff(starts, append=rows.shape[1])
            is_long = np.repeat(length >= MINIMUM_LENGTH, length)
            lengths.append(length[length >= MINIMUM_LENGTH])
            item.add(rows[_ITEM, is_long])
            key.add(rows[_KEY, is_long])
            short_item.add(rows[_ITEM, ~is_long])
            short_key.add(rows[_KEY, ~is_long])
        counts.sequences, counts.kept = sum(map(len, lengths)) - 1, item.length
        counts.short_sequences_dropped = counts.in_short_sequences = short_item.length  # one row each
        lengths.append(np.ones(short_item.length, np.int64))
        item.add(short_item.map())
        key.add(short_key.map())
        return InteractionRows(np.cumsum(np.concatenate(lengths)), item.map(), key.map()), np.concatenate(repeats)


class _ArrayFile:
    """An array that grows in a file without a name, whose room is free again when no map of it is left."""

    def __init__(self, file: IO[bytes], kind: npt.DTypeLike) -> None:
        self._file, self._kind, self.length = file, kind, 0

    def add(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self._kind).data)
        self.length += len(values)

    def map(self) -> np.ndarray:
        """A map that is copied on write, as in `Catalog.load`."""
        self._file.flush()
        return np.memmap(self._file, self._kind, "c") if self.length else np.zeros(0, self._kind)


# The rows of an int64 [4, n] that holds the columns of n interactions.
_SEQUENCE, _KEY, _POS, _ITEM = range(4)


def _whole_sequences(batches: Iterator[pa.RecordBatch]) -> Iterator[np.ndarray]:
    """Cuts batches between sequences, int64 [4, n]: holds at most one batch and the longest sequence."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        rows = np.stack([batch[name].to_numpy().astype(np.int64) for name in ("sequence", "key", "pos", "item")])
        sequence = rows[_SEQUENCE]
        first_of_last = int(np.searchsorted(sequence, sequence[-1]))
        if waiting and (first_of_last or waiting[-1][_SEQUENCE, -1] != sequence[0]):
            yield np.concatenate([*waiting, rows[:, :first_of_last]], axis=1)
            waiting = []
        elif first_of_last:
            yield rows[:, :first_of_last]
        waiting.append(rows[:, first_of_last:])
    if waiting:
        yield np.concatenate(waiting, axis=1)


def _repeats(rows: np.ndarray) -> np.ndarray:
    """Bool [n]: rows whose sequence, key and item have occurred before. Rows are ordered by sequence, key and pos."""
    sequence, key = rows[_SEQUENCE], rows[_KEY]
    repeated = np.zeros(len(key), dtype=bool)
    tied = np.zeros(len(key) + 1, dtype=bool)
    tied[1:-1] = (sequence[1:] == sequence[:-1]) & (key[1:] == key[:-1])
    among = np.flatnonzero(tied[:-1] | tied[1:])
    if len(among):
        # within a tie the order is that of the input, and a stable sort keeps it among equal items
        tie, item = np.cumsum(~tied[:-1]), rows[_ITEM]
        order = among[np.lexsort((item[among], tie[among]))]
        same = (tie[order[1:]] == tie[order[:-1]]) & (item[order[1:]] == item[order[:-1]])
        repeated[order[1:][same]] = True
    return repeated
