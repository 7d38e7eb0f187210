"""Faults of a day's logs, put on request into a demo world: what nights go wrong with, as rows and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import ConfigError
from modit.data.demo.parameters import FIRST_DAY, DemoParameters

FAULT_STREAM = 3
LATE_SHARE = 0.1  # of the day's sessions
DUPLICATED_SHARE = 0.15  # of its rows
# Of its rows, each: windows of up to 30 days have more than the 1% of them that one rule may catch.
WITHOUT_ITEM_SHARE = WITHOUT_CLOCK_SHARE = 0.4
UNKNOWN_ITEM_SHARE = 0.1
UNKNOWN_ITEM, UNSET_CLOCK = "item-unknown", datetime(1970, 1, 1, 0, 0, 5)

# Where rows are delivered: the number of days after their own day, and the name of the file.
Place: TypeAlias = tuple[int, str]
Deliveries: TypeAlias = dict[Place, pa.Table]
ON_TIME: Place = (0, "part.parquet")
LATE: Place = (1, "late.parquet")
AGAIN: Place = (0, "redelivery.parquet")


@dataclass(frozen=True, order=True)
class DemoFault:
    """A kind of fault on a day, `KIND:DAY` on the command line.

    Attributes:
        day: the day, in the world.
        kind: one of `KINDS`.
    """

    day: date
    kind: str

    @classmethod
    def parse(cls, text: str) -> DemoFault:
        """Reads `KIND:YYYY-MM-DD`.

        Raises:
            ConfigError: the kind is unknown, or the day is no date.
        """
        kind, _, day = text.partition(":")
        if kind not in KINDS:
            raise ConfigError(f"demo world: fault {text!r}: KIND is {kind!r}; allowed: {', '.join(KINDS)}")
        try:
            return cls(datetime.strptime(day, "%Y-%m-%d").date(), kind)
        except ValueError as error:
            raise ConfigError(f"demo world: fault {text!r}: DAY is {day!r}; allowed: YYYY-MM-DD") from error

    @property
    def days_written(self) -> tuple[date, ...]:
        """The days whose partitions it writes rows into."""
        return (self.day, self.day + timedelta(days=1)) if self.kind == "late" else (self.day,)

    def __str__(self) -> str:
        return f"{self.kind}:{self.day}"


class FaultPlan:
    """Which faults the days of a world have. Order and repeats do not matter.

    Args:
        parameters: of the world.
        faults: any number of them; a day may have several kinds.

    Raises:
        ConfigError: a day is not in the world, or is missing and has, or gets, other rows.
    """

    def __init__(self, parameters: DemoParameters, faults: Sequence[DemoFault] = ()) -> None:
        self.faults, self._parameters = sorted(set(faults)), parameters
        last = FIRST_DAY + timedelta(days=parameters.days - 1)
        for fault in self.faults:
            if not FIRST_DAY <= fault.day <= last:
                raise ConfigError(f"demo world: fault {fault}: DAY must be in {FIRST_DAY} to {last}")
            writes = [each for each in self.faults if each != fault and fault.day in each.days_written]
            if fault.kind == MISSING and writes:
                raise ConfigError(
                    f"demo world: fault {fault}: {writes[0]} puts rows into the partition that is not written; "
                    "allowed: one of them"
                )

    def leaves_out(self, day: int) -> bool:
        """Whether the partition of day number `day`, from 0, is not written."""
        return MISSING in self._kinds(day)

    def deliveries(self, rows: pa.Table, day: int, chunk: int) -> Deliveries:
        """Where a chunk of a day's sound rows (whole sessions) is delivered; all at `ON_TIME` on a sound day.

        Days and the chunks of a day count from 0.
        """
        delivered = {ON_TIME: rows}
        kinds = self._kinds(day)
        for number, (kind, apply) in enumerate(_CHANGES.items()):
            if kind in kinds:
                rng = self._parameters.generator(FAULT_STREAM, number, day, chunk)
                delivered |= apply(delivered[ON_TIME], rng)
        return delivered

    def _kinds(self, day: int) -> set[str]:
        return {fault.kind for fault in self.faults if fault.day == FIRST_DAY + timedelta(days=day)}


def _drifting(rows: pa.Table, rng: np.random.Generator) -> Deliveries:
    """A bot: every row names one item."""
    item = rows["item_id"][int(rng.integers(len(rows)))]
    return {ON_TIME: _with(rows, "item_id", pa.repeat(item, len(rows)))}


def _malformed(rows: pa.Table, rng: np.random.Generator) -> Deliveries:
    """Rows without an item, of an unset clock, and of an item that no catalogue has; each row at most one of them."""
    shares = (WITHOUT_ITEM_SHARE, WITHOUT_CLOCK_SHARE, UNKNOWN_ITEM_SHARE)
    fate = np.searchsorted(np.cumsum(shares), rng.random(len(rows)), side="right")
    no_item, no_clock, unknown = (pa.array(fate == number) for number in range(len(shares)))
    items = pc.if_else(no_item, pa.scalar(None, pa.string()), pc.if_else(unknown, UNKNOWN_ITEM, rows["item_id"]))
    times = pc.if_else(no_clock, pa.scalar(UNSET_CLOCK, pa.timestamp("us")), rows["timestamp"])
    return {ON_TIME: _with(_with(rows, "item_id", items), "timestamp", times)}


def _late(rows: pa.Table, rng: np.random.Generator) -> Deliveries:
    """Sessions of devices that were offline: they lie in the partition of the next day."""
    session = rows["sequence_id"].combine_chunks().dictionary_encode()
    is_late = (rng.random(len(session.dictionary)) < LATE_SHARE)[session.indices.to_numpy()]
    return {ON_TIME: rows.filter(pa.array(~is_late)), LATE: rows.filter(pa.array(is_late))}


def _duplicated(rows: pa.Table, rng: np.random.Generator) -> Deliveries:
    """A part of the rows once more, in a second file."""
    return {AGAIN: rows.filter(pa.array(rng.random(len(rows)) < DUPLICATED_SHARE))}


def _with(rows: pa.Table, column: str, values: pa.Array) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(place), values)


# In the order in which they are put into one day; another order is another world.
_CHANGES: dict[str, Callable[[pa.Table, np.random.Generator], Deliveries]] = {
    "drifting": _drifting,
    "malformed": _malformed,
    "late": _late,
    "duplicated": _duplicated,
}
MISSING = "missing"
KINDS = (*sorted(_CHANGES), MISSING)
