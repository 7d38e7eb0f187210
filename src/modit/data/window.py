"""The part of time that a run reads, and what a row's time must look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.window import Days
from modit.data.parts import Part

DAY = 86_400_000_000  # microseconds
# Outside of these a time is a unit gone wrong (seconds read as milliseconds, an unset clock), not a late row.
EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2100, 1, 1)


@dataclass(frozen=True)
class Window:
    """Which rows to read, by time: `start <= timestamp < end`; None leaves that side open.

    Naive times are compared with the stored values as they are; aware ones are converted to UTC.
    """

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of_days(cls, days: Days | None) -> Window:
        """Whole days of UTC; all of time if None."""
        return cls() if days is None else cls(_midnight(days.start), _midnight(days.end))

    @property
    def is_open(self) -> bool:
        """True if no side is limited."""
        return self.start is None and self.end is None

    @property
    def days(self) -> Days | None:
        """The days that the window touches, or None where it is open."""
        if self.start is None or self.end is None:
            return None
        return Days(self.start.date(), (self.end - timedelta(microseconds=1)).date() + timedelta(days=1))

    def holds_part(self, part: Part) -> bool:
        """False if the day of the part's folder `date=YYYY-MM-DD` is not in the window."""
        if part.day is None:
            return True
        begins, ends = _days_to_micros(part.day), _days_to_micros(part.day) + DAY
        return (self.end is None or begins < _micros(self.end)) and (self.start is None or ends > _micros(self.start))

    def row_groups(self, part: Part) -> list[int] | None:
        """Row groups that can hold rows of the window, by their statistics; None for all.

        Those with rows that have no time, or an impossible one, are among them, so that these are set aside.
        """
        if self.is_open:
            return None
        metadata, column = part.metadata, part.schema.names.index("timestamp")
        if column >= metadata.num_columns or metadata.schema.column(column).path != "timestamp":
            return None  # a nested column before it: statistics are not looked for
        chosen = [n for n in range(metadata.num_row_groups) if self._may_hold(metadata.row_group(n).column(column))]
        return None if len(chosen) == metadata.num_row_groups else chosen

    def inside(self, key: np.ndarray) -> np.ndarray | None:
        """Bool [n], which times (microseconds) lie in the window; None when all do."""
        if self.is_open or not len(key):
            return None
        low = _micros(self.start) if self.start else np.iinfo(np.int64).min
        high = _micros(self.end) if self.end else np.iinfo(np.int64).max
        return None if low <= key.min() and key.max() < high else (key >= low) & (key < high)

    def _may_hold(self, column: pq.ColumnChunkMetaData) -> bool:
        found = column.statistics
        if found is None or not found.has_min_max or found.null_count or found.null_count is None:
            return True
        least, greatest = (_micros(value.replace(tzinfo=None)) for value in (found.min, found.max))
        if least < _micros(EARLIEST) or greatest >= _micros(LATEST):
            return True
        return (self.end is None or least < _micros(self.end)) and (
            self.start is None or greatest >= _micros(self.start)
        )


@dataclass(frozen=True)
class TimeRules:
    """Rules on a row's own time.

    Attributes:
        window: the part of time to read.
        overlap_days: how many days a row may lie away from the day of its partition.
    """

    window: Window
    overlap_days: int = 2

    def outside(self, part: Part, key: np.ndarray, known: np.ndarray | None) -> np.ndarray | None:
        """Bool [n], rows that belong to another window; None when there are none.

        A row without a time, with an impossible one or far from its partition is in no window; it stays, to be
        set aside.

        Args:
            part: the file.
            key: int64 [n], microseconds.
            known: bool [n], rows that have a time; None for all.
        """
        inside = self.window.inside(key)
        if inside is None:
            return None
        elsewhere = ~inside if known is None else ~inside & known
        for _, bad in self.breaches(part, key):
            elsewhere &= ~bad
        return elsewhere if elsewhere.any() else None

    def breaches(self, part: Part, key: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yields (rule, bool [n] of the rows that break it); rows without a time must have been looked at before."""
        if not len(key):
            return
        least, greatest = key.min(), key.max()
        if least < _micros(EARLIEST) or greatest >= _micros(LATEST):
            yield "timestamp_in_range", (key < _micros(EARLIEST)) | (key >= _micros(LATEST))
        if part.day is not None:
            low = _days_to_micros(part.day) - self.overlap_days * DAY
            high = _days_to_micros(part.day) + (1 + self.overlap_days) * DAY
            if least < low or greatest >= high:
                yield "timestamp_in_partition", (key < low) | (key >= high)


def microseconds(column: pa.Array) -> np.ndarray:
    """A timestamp column as int64 [n] since 1970 (UTC where it is aware); 0 where it is null."""
    values = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    return (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _micros(moment: datetime) -> int:
    moment = moment if moment.tzinfo is None else (moment - moment.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
    since = moment - datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _days_to_micros(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * DAY
