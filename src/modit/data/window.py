"""The part of time that a run reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from modit.core.window import Days
from modit.data.files import ROW_BITS, TableFile
from modit.data.rules import DAY, IMPOSSIBLE_TIME, far_from_partition


@dataclass(frozen=True)
class Window:
    """Which rows to read, by time: `start <= timestamp < end`; None leaves that side open.

    Naive times are compared with the stored values as they are; aware ones are converted to UTC.

    Attributes:
        start: first moment of the window.
        end: first moment behind it.
        overlap_days: how many days a row may lie away from the day of its partition.
    """

    start: datetime | None = None
    end: datetime | None = None
    overlap_days: int = 2

    @classmethod
    def of_days(cls, days: Days | None, overlap_days: int = 2) -> Window:
        """Whole days of UTC; all of time if None."""
        if days is None:
            return cls(overlap_days=overlap_days)
        return cls(datetime.combine(days.start, time()), datetime.combine(days.end, time()), overlap_days)

    @property
    def is_open(self) -> bool:
        """Whether no side is limited."""
        return self.start is None and self.end is None

    def holds_file(self, file: TableFile) -> bool:
        """Whether a file may hold rows of the window, by the day of its folder `date=YYYY-MM-DD`."""
        if file.day is None:
            return True
        begins = _days_to_micros(file.day)
        return (self.end is None or begins < _micros(self.end)) and (
            self.start is None or begins + DAY > _micros(self.start)
        )

    def join(self, files: Sequence[TableFile]) -> str:
        """SQL of a join that adds to the files' rows the `day` of their partition (microseconds or null), and
        `has_unknown_day`.
        """
        if not any(file.day or file.has_unknown_day for file in files):
            return "CROSS JOIN (SELECT 0 AS part, NULL::BIGINT AS day, false AS has_unknown_day)"
        days = [
            f"({number}, {_days_to_micros(file.day) if file.day else 'NULL'}, {str(file.has_unknown_day).lower()})"
            for number, file in enumerate(files)
        ]
        return f"JOIN (VALUES {', '.join(days)}) AS files (part, day, has_unknown_day) ON part = pos >> {ROW_BITS}"

    def inside(self) -> str:
        """SQL predicate over rows that are joined: the row does not belong to another window.

        A row without a time, with an impossible one, or far from its partition is in no window; it is kept, to be set
        aside.
        """
        sides = [f"timestamp < {_micros(self.start)}"] if self.start else []
        sides += [f"timestamp >= {_micros(self.end)}"] if self.end else []
        far = f"coalesce({far_from_partition(self.overlap_days)}, false)"
        elsewhere = f"({' OR '.join(sides) or 'false'}) AND NOT ({IMPOSSIBLE_TIME}) AND NOT {far}"
        return f"NOT coalesce({elsewhere} AND NOT has_unknown_day, false)"


def _micros(moment: datetime) -> int:
    moment = moment if moment.tzinfo is None else (moment - moment.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def _days_to_micros(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY
