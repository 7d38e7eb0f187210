"""Reads the interaction table into sequences of catalogue rows; bad rows go to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from modit.core.errors import ConfigError
from modit.data.catalog import Sequences
from modit.data.contract import check_interactions
from modit.data.interaction_rows import InteractionReader, InteractionRows
from modit.data.parts import Part, find_parts
from modit.data.problems import ProblemLog
from modit.data.quarantine import Quarantine

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
        """True if no side is limited."""
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
        reader = InteractionReader(parts, order, (window.start, window.end), aside)
        table = reader.read(item_ids)
        counts.outside_window = reader.outside_window
        in_window = counts.rows - counts.outside_window
        counts.quarantined = aside.counts
        if in_window:
            aside.refuse_beyond(tolerance.by_rule(), in_window)
    sequences = _assemble(table, counts, timed=order == "timestamp")
    if counts.sequences == 0:
        detail = f"{counts.rows} rows, {in_window} in the window, {counts.short_sequences_dropped} sequences too short"
        _refuse("interactions_not_empty", parts[0], detail)
    return sequences, counts


def _assemble(table: InteractionRows, counts: InteractionCounts, timed: bool) -> Sequences:
    lengths = np.bincount(table.sequence)
    long_enough = lengths >= MINIMUM_LENGTH
    kept = long_enough[table.sequence]
    items = table.item[kept]
    counts.sequences = int(long_enough.sum())
    counts.short_sequences_dropped = int(((lengths > 0) & ~long_enough).sum())
    counts.kept = len(items)
    counts.in_short_sequences = len(table.item) - len(items)
    offsets = np.concatenate([[0], np.cumsum(lengths[long_enough])]).astype(np.int64)
    return Sequences(offsets, items.astype(np.int32), table.key[kept] if timed else None)


def _refuse(rule: str, part: Part, detail: str) -> None:
    problems = ProblemLog()
    problems.add(rule, part.name, detail=detail)
    problems.raise_if_any()
