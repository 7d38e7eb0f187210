"""Reads the interaction table into sequences of catalogue rows; bad rows go to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from modit.data.catalog import Sequences
from modit.data.contract import check_interactions
from modit.data.facts import Fact
from modit.data.hashing import WordIndex
from modit.data.interaction_rows import InteractionReader
from modit.data.params import ValidationParams
from modit.data.parts import find_parts
from modit.data.problems import ProblemLog
from modit.data.quarantine import Quarantine
from modit.data.row_order import OrderedRows
from modit.data.scratch import Scratch
from modit.data.tolerance import allowed_of_interactions
from modit.data.window import TimeRules, Window

__all__ = ["InteractionCounts", "Interactions", "Window", "read_interactions"]

MINIMUM_LENGTH = 2
_BLOCK = 1 << 20


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
        order: `timestamp` or `position`.
        facts: one for each rule on rows.
    """

    sequences: Sequences
    counts: InteractionCounts
    rows: InteractionRows
    order: str
    facts: list[Fact]


def read_interactions(
    source: Path, item_ids: np.ndarray, quarantine: Path, times: TimeRules, params: ValidationParams
) -> Interactions:
    """Reads and checks `interactions`.

    A sequence is ordered by its timestamp or position; ties keep the order of the input. Sequences come in the order
    in which they first appear, and those with fewer than two items are dropped and counted.

    Args:
        source: the input folder.
        item_ids: unicode [N], the ids of the catalogue.
        quarantine: folder for the rows that break a rule.
        times: the part of time to read, and what a row's time must look like.
        params: section `validate_logs`: how much quarantine is too much.

    Raises:
        ContractError: the schema is wrong.
    """
    all_parts = find_parts(source, "interactions")
    order = check_interactions(all_parts)
    if order == "position" and not times.window.is_open:
        problems = ProblemLog()
        detail = "a window of time needs the column timestamp, and there is position"
        problems.add("one_order_column", all_parts[0].name, detail=detail)
        problems.raise_if_any()
    parts = [part for part in all_parts if times.window.holds_part(part)]
    counts = InteractionCounts(rows=sum(part.rows for part in parts))
    columns = ("sequence_id", "item_id", order)
    with Scratch(quarantine) as scratch, Quarantine(quarantine, "interactions", columns) as aside:
        reader = InteractionReader(parts, order, times, aside, scratch)
        assembly = _Assembly(scratch)
        for ordered in reader.read(WordIndex(pa.array(item_ids.tolist(), pa.large_string()))):
            assembly.add(ordered)
        rows, sequences = assembly.finish(counts, timed=order == "timestamp")
    counts.outside_window, counts.quarantined = reader.outside_window, aside.counts
    in_window = counts.rows - counts.outside_window
    facts = aside.facts(allowed_of_interactions(params, order), in_window)
    if order == "timestamp" and in_window:
        share = reader.unordered / in_window
        facts.append(
            Fact("interactions", "time_order", share, 0.0, params.unordered_share_max, reader.unordered, in_window)
        )
    return Interactions(sequences, counts, rows, order, facts)


class _Assembly:
    """The good rows on disk; those of short sequences wait, to lie behind the others."""

    def __init__(self, scratch: Scratch) -> None:
        self._long, self._short = _Ragged(scratch), _Ragged(scratch)

    def add(self, ordered: OrderedRows) -> None:
        """Takes the rows of a range of sequences."""
        is_long = ordered.lengths >= MINIMUM_LENGTH
        for rows, chosen in ((self._long, is_long), (self._short, ~is_long & (ordered.lengths > 0))):
            kept = np.repeat(chosen, ordered.lengths)
            rows.add(ordered.lengths[chosen], ordered.item[kept], ordered.key[kept])

    def finish(self, counts: InteractionCounts, timed: bool) -> tuple[InteractionRows, Sequences]:
        """Maps of what was written; counts it."""
        counts.sequences, counts.kept = len(self._long), len(self._long.item)
        counts.short_sequences_dropped, counts.in_short_sequences = len(self._short), len(self._short.item)
        self._long.extend(self._short)
        offsets, item, key = (column.mapped() for column in (self._long.offsets, self._long.item, self._long.key))
        times = key[: counts.kept] if timed else None
        sequences = Sequences(offsets[: counts.sequences + 1], item[: counts.kept], times)
        return InteractionRows(offsets, item, key), sequences


class _Ragged:
    """Sequences on disk; `len` is how many."""

    def __init__(self, scratch: Scratch) -> None:
        self.offsets, self.item, self.key = (scratch.column(kind) for kind in (np.int64, np.int32, np.int64))
        self.offsets.append(np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def add(self, lengths: np.ndarray, item: np.ndarray, key: np.ndarray) -> None:
        self.offsets.append(len(self.item) + np.cumsum(lengths))
        self.item.append(item)
        self.key.append(key)

    def extend(self, other: _Ragged) -> None:
        for start in range(0, len(other), _BLOCK):
            offsets = other.offsets.slice(start, min(start + _BLOCK, len(other)) + 1)
            rows = int(offsets[0]), int(offsets[-1])
            self.add(np.diff(offsets), other.item.slice(*rows), other.key.slice(*rows))
