"""Reads the interaction table into sequences of catalogue rows; bad rows go to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modit.data.catalog import Sequences
from modit.data.contract import check_interactions
from modit.data.facts import Fact
from modit.data.interaction_rows import InteractionReader, InteractionRows
from modit.data.parts import find_parts
from modit.data.problems import ProblemLog
from modit.data.quarantine import Quarantine
from modit.data.tolerance import Tolerance
from modit.data.window import TimeRules, Window

__all__ = ["InteractionCounts", "Interactions", "Tolerance", "Window", "read_interactions"]

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
    source: Path, item_ids: np.ndarray, quarantine: Path, times: TimeRules, tolerance: Tolerance
) -> Interactions:
    """Reads and checks `interactions`.

    A sequence is ordered by its timestamp or position; ties keep the order of the input. Sequences come in the order
    in which they first appear, and those with fewer than two items are dropped and counted.

    Args:
        source: the input folder.
        item_ids: unicode [N], the ids of the catalogue.
        quarantine: folder for the rows that break a rule.
        times: the part of time to read, and what a row's time must look like.
        tolerance: how much quarantine is too much.

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
    with Quarantine(quarantine, "interactions", ("sequence_id", "item_id", order)) as aside:
        reader = InteractionReader(parts, order, times, aside)
        rows = reader.read(item_ids)
    counts.outside_window, counts.quarantined = reader.outside_window, aside.counts
    in_window = counts.rows - counts.outside_window
    facts = aside.facts(tolerance.of_interactions(order), in_window)
    if order == "timestamp" and in_window:
        share = reader.unordered / in_window
        facts.append(
            Fact("interactions", "time_order", share, 0.0, tolerance.unordered_share_max, reader.unordered, in_window)
        )
    return Interactions(_assemble(rows, counts, timed=order == "timestamp"), counts, rows, order, facts)


def _assemble(table: InteractionRows, counts: InteractionCounts, timed: bool) -> Sequences:
    lengths = np.bincount(table.sequence) if len(table.sequence) else np.zeros(0, np.int64)
    long_enough = lengths >= MINIMUM_LENGTH
    kept = long_enough[table.sequence]
    items = table.item[kept]
    counts.sequences = int(long_enough.sum())
    counts.short_sequences_dropped = int(((lengths > 0) & ~long_enough).sum())
    counts.kept = len(items)
    counts.in_short_sequences = len(table.item) - len(items)
    offsets = np.concatenate([[0], np.cumsum(lengths[long_enough])]).astype(np.int64)
    return Sequences(offsets, items.astype(np.int32), table.key[kept] if timed else None)
