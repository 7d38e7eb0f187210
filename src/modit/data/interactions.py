"""Reads the interaction table into sequences of catalogue rows; bad rows go to the quarantine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modit.data.catalog import Sequences
from modit.data.mapping import TableLayout
from modit.data.measurements import Measurement, measured
from modit.data.problems import ProblemLog
from modit.data.quarantine import SetAside
from modit.data.rules import RowCheck, first_broken, interaction_checks
from modit.data.table_job import TableJob

MINIMUM_LENGTH = 2


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


@dataclass(frozen=True)
class Interactions:
    """What the table `interactions` gave.

    Attributes:
        sequences: the good rows as sequences of catalogue rows.
        counts: what happened to the rows.
        rows: the good rows, those of short sequences too.
        order: `timestamp` or `position`; "" where the input has no interactions.
        measurements: one for each rule on rows.
        layout: the table as it was understood; None where the input has no interactions.
    """

    sequences: Sequences
    counts: InteractionCounts
    rows: InteractionRows
    order: str
    measurements: list[Measurement]
    layout: TableLayout | None = None

    @classmethod
    def none(cls) -> Interactions:
        """Those of an input without the table."""
        rows = InteractionRows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64))
        return cls(Sequences.none(), InteractionCounts(), rows, "", [])


def read_interactions(job: TableJob) -> Interactions:
    """Reads and checks `interactions`.

    A sequence is ordered by its timestamp or position; ties keep the order of the input. Sequences come in the order
    in which they first appear, and those with fewer than two items are dropped and counted.

    Args:
        job: what to read, and how.

    Raises:
        ContractError: the columns are not those of the contract, or a file cannot be read.
    """
    layout = job.understand("interactions")
    if layout.order == "position" and not job.times.window.is_open:
        problems = ProblemLog()
        detail = "a window of time needs the column timestamp, and there is position"
        problems.add("one_order_column", layout.files[0].name, detail=detail)
        problems.raise_if_any()
    return _Reader(layout, job).read()


class _Reader:
    """Reads the table in four statements: rows with their checks, sequences, rows in order, rows set aside."""

    def __init__(self, layout: TableLayout, job: TableJob) -> None:
        self._layout, self._job, self._engine = layout, job, job.engine
        self._files, self._order = job.files(layout), layout.order
        self._checks = [
            *interaction_checks(self._order, job.times.overlap_days),
            RowCheck("duplicate_interaction", "item_id", "repeated"),
        ]
        self._unknown = next(number for number, check in enumerate(self._checks) if check.rule == "unknown_item")

    def read(self) -> Interactions:
        self._stage()
        counts = InteractionCounts(rows=self._job.count(self._files))
        in_window = self._engine.value("SELECT count(*) FROM staged")
        rows, sequences = self._assemble(counts)
        aside = self._set_aside(in_window)
        counts.outside_window, counts.quarantined = counts.rows - in_window, aside.counts
        measurements = aside.measurements
        if self._order == "timestamp" and in_window:
            late = self._engine.value(_OUT_OF_ORDER.format(unknown=self._unknown))
            share = late / in_window
            measurements.append(measured("interactions", "time_order", share, self._job.params, late, in_window))
        return Interactions(sequences, counts, rows, self._order, measurements, self._layout)

    def _stage(self) -> None:
        """Table `staged`: rows of the window in the order of the input, with the first check that each breaks."""
        order, scan = self._order, self._job.scan(self._layout, self._files)
        scan = scan.replace("WHERE", "LEFT JOIN items USING (item_id) WHERE", 1)
        self._job.stage(
            self._layout,
            self._files,
            f"CREATE OR REPLACE TABLE staged AS SELECT pos, sequence_id, item, {order} AS key, "
            f"{first_broken(self._checks[:-1])} AS broken, "
            f"CASE WHEN item IS NULL THEN item_id END AS item_id, {order}_text AS key_text {scan}",
        )

    def _assemble(self, counts: InteractionCounts) -> tuple[InteractionRows, Sequences]:
        """Brings the good rows into order, without repeats; table `repeats` gets the positions of these."""
        # a sequence has its place by its first row in the window, be that row's item known or not
        self._engine.run(
            "CREATE OR REPLACE TABLE sequences AS "
            "SELECT sequence_id, CAST(row_number() OVER (ORDER BY min(pos)) - 1 AS INTEGER) AS sequence "
            f"FROM staged WHERE broken IS NULL OR broken = {self._unknown} GROUP BY sequence_id"
        )
        ordered = self._engine.batches(
            "SELECT sequence, key, pos, item FROM staged JOIN sequences USING (sequence_id) WHERE broken IS NULL "
            "ORDER BY sequence, key, pos"
        )
        with _Assembly(self._engine.folder) as assembly:
            for rows in _whole_sequences(ordered):
                assembly.add(rows)
            self._engine.save("repeats", pa.table({"pos": assembly.repeated()}))
            return assembly.finish(counts, timed=self._order == "timestamp")

    def _set_aside(self, in_window: int) -> SetAside:
        """Writes the quarantine; table `refused` gets its rows."""
        text = "CAST(make_timestamp(key) AS VARCHAR)" if self._order == "timestamp" else "CAST(key AS VARCHAR)"
        self._engine.run(
            "CREATE OR REPLACE TABLE refused AS SELECT pos, "
            f"coalesce(broken, CASE WHEN repeats.pos IS NOT NULL THEN {len(self._checks) - 1} END) AS broken, "
            "sequence_id, coalesce(staged.item_id, items.item_id) AS item_id, "
            f"coalesce(key_text, {text}) AS {self._order} "
            "FROM staged LEFT JOIN repeats USING (pos) LEFT JOIN items USING (item) "
            "WHERE broken IS NOT NULL OR repeats.pos IS NOT NULL"
        )
        return self._job.set_aside(self._layout, self._files, self._checks, "refused", in_window)


# Rows older than the row above them in their file.
_OUT_OF_ORDER = """SELECT count(*) FILTER (key < above AND part = part_above) FROM (
SELECT key, lag(key) OVER () AS above, pos >> 40 AS part, lag(pos >> 40) OVER () AS part_above
FROM staged WHERE broken IS NULL OR broken = {unknown})"""


@dataclass(frozen=True)
class _Rows:
    """Rows in order; arrays [n] of equal length."""

    sequence: np.ndarray
    key: np.ndarray
    pos: np.ndarray
    item: np.ndarray

    def take(self, chosen: np.ndarray | slice) -> _Rows:
        return _Rows(*(column[chosen] for column in vars(self).values()))


def _whole_sequences(batches: Iterator[pa.RecordBatch]) -> Iterator[_Rows]:
    """Cuts batches between sequences: holds at most one batch and the longest sequence."""
    waiting: list[_Rows] = []
    for batch in batches:
        rows = _Rows(*(batch[name].to_numpy() for name in ("sequence", "key", "pos", "item")))
        last = int(np.searchsorted(rows.sequence, rows.sequence[-1])) if len(rows.sequence) else 0
        if last:
            yield _joined([*waiting, rows.take(slice(last))])
            waiting = []
        elif waiting and len(rows.sequence) and waiting[-1].sequence[-1] != rows.sequence[0]:
            yield _joined(waiting)
            waiting = []
        waiting.append(rows.take(slice(last, None)))
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[_Rows]) -> _Rows:
    if len(parts) == 1:
        return parts[0]
    return _Rows(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))


def _repeats(rows: _Rows) -> np.ndarray:
    """Bool [n]: rows whose sequence, key and item have occurred before. Rows are ordered by sequence, key and pos."""
    repeated = np.zeros(len(rows.sequence), dtype=bool)
    tied = np.zeros(len(rows.sequence) + 1, dtype=bool)
    tied[1:-1] = (rows.sequence[1:] == rows.sequence[:-1]) & (rows.key[1:] == rows.key[:-1])
    among = np.flatnonzero(tied[:-1] | tied[1:])
    if not len(among):
        return repeated
    # within a tie the order is that of the input, and a stable sort keeps it among equal items
    tie = np.cumsum(~tied[:-1])[among]
    order = among[np.lexsort((rows.item[among], tie))]
    tie_of = np.cumsum(~tied[:-1])[order]
    same = (tie_of[1:] == tie_of[:-1]) & (rows.item[order[1:]] == rows.item[order[:-1]])
    repeated[order[1:][same]] = True
    return repeated


class _Assembly:
    """The good rows on disk; those of short sequences wait, to lie behind the others. A context manager.

    Args:
        folder: an existing folder on a disk with enough room.
    """

    def __init__(self, folder: Path) -> None:
        self._long, self._short = _Ragged(folder), _Ragged(folder)
        self._repeats: list[np.ndarray] = [np.zeros(0, np.int64)]

    def __enter__(self) -> _Assembly:
        return self

    def __exit__(self, *details: object) -> None:
        self._long.close()
        self._short.close()

    def add(self, rows: _Rows) -> None:
        """Takes the rows of whole sequences."""
        repeated = _repeats(rows)
        if repeated.any():
            self._repeats.append(rows.pos[repeated])
            rows = rows.take(~repeated)
        starts = np.flatnonzero(np.diff(rows.sequence, prepend=-1))
        lengths = np.diff(starts, append=len(rows.sequence))
        is_long = lengths >= MINIMUM_LENGTH
        for ragged, chosen in ((self._long, is_long), (self._short, ~is_long)):
            kept = np.repeat(chosen, lengths)
            ragged.add(lengths[chosen], rows.item[kept], rows.key[kept])

    def repeated(self) -> np.ndarray:
        """int64 [n], the positions of rows that have occurred before."""
        return np.concatenate(self._repeats)

    def finish(self, counts: InteractionCounts, timed: bool) -> tuple[InteractionRows, Sequences]:
        """Maps of what was written; counts it."""
        counts.sequences, counts.kept = self._long.sequences, self._long.rows
        counts.short_sequences_dropped, counts.in_short_sequences = self._short.sequences, self._short.rows
        offsets, item, key = self._long.mapped(self._short)
        times = key[: counts.kept] if timed else None
        sequences = Sequences(offsets[: counts.sequences + 1], item[: counts.kept], times)
        return InteractionRows(offsets, item, key), sequences


class _Ragged:
    """Sequences in files without a name, whose room is free again when no map of them is left."""

    def __init__(self, folder: Path) -> None:
        self.sequences = self.rows = 0
        self._files = [tempfile.TemporaryFile(dir=folder) for _ in range(3)]  # noqa: SIM115 - `close` closes them
        self._write(0, np.zeros(1, np.int64))

    def add(self, lengths: np.ndarray, item: np.ndarray, key: np.ndarray) -> None:
        self._write(0, self.rows + np.cumsum(lengths, dtype=np.int64))
        self._write(1, item.astype(np.int32, copy=False))
        self._write(2, key.astype(np.int64, copy=False))
        self.sequences, self.rows = self.sequences + len(lengths), self.rows + len(item)

    def mapped(self, more: _Ragged) -> tuple[np.ndarray, ...]:
        """Offsets, items and keys, those of `more` behind; maps that are copied on write, as in `Catalog.load`."""
        for offsets, item, key in more.blocks():
            self.add(np.diff(offsets), item, key)
        return tuple(self._map(number) for number in range(3))

    def blocks(self, size: int = 1 << 20) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        offsets, item, key = (self._map(number) for number in range(3))
        for start in range(0, self.sequences, size):
            here = np.array(offsets[start : start + size + 1])
            rows = slice(int(here[0]), int(here[-1]))
            yield here, item[rows], key[rows]

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _write(self, number: int, values: np.ndarray) -> None:
        self._files[number].write(np.ascontiguousarray(values).view(np.uint8).data)

    def _map(self, number: int) -> np.ndarray:
        file: IO[bytes] = self._files[number]
        file.flush()
        kind: npt.DTypeLike = (np.int64, np.int32, np.int64)[number]
        return np.memmap(file, kind, "c") if file.tell() else np.zeros(0, kind)
