"""The days that a run is about: what its conf may name, and which partitions of the input lie in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from modit.core.errors import ConfigError
from modit.core.params import WindowParams
from modit.core.storage import Storage

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PARTITION = re.compile(r"(?:^|/)date=([^/]*)/")


def _only_days(value: Any) -> Any:
    # pydantic would also take seconds since 1970, and a time of day
    if isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("must be a day, YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_only_days)]


@dataclass(frozen=True)
class Days:
    """Days from `start` to the day before `end`."""

    start: date
    end: date

    @property
    def count(self) -> int:
        """How many days."""
        return (self.end - self.start).days

    @property
    def end_instant(self) -> datetime:
        """Midnight, UTC, that ends them: later than all that happened on them."""
        return datetime.combine(self.end, time(), UTC)

    def refuse_future(self, today: date) -> None:
        """Refuses days that are still to come: such a window would hold back every later night until they have passed.

        Args:
            today: UTC; its own day may be read, incomplete as it is.

        Raises:
            ConfigError: the window ends later than that.
        """
        latest = today + timedelta(days=1)
        if self.end > latest:
            raise ConfigError(
                f"window: end {self.end} lies ahead; allowed: {latest} (the end is not included) or earlier"
            )

    def each(self) -> list[date]:
        """Every one of them."""
        return [self.start + timedelta(days=number) for number in range(self.count)]

    def holds_file(self, name: str) -> bool:
        """Whether a file of the input may hold rows of these days, by its folder `date=YYYY-MM-DD`."""
        day = partition_day(name)
        return day is None or self.start <= day < self.end


class NamedWindow(BaseModel):
    """The field `window` of a run's conf: half-open, whole days.

    Attributes:
        start: first day; None for as many days before `end` as section `window` says.
        end: the day after the last one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Day | None = None
    end: Day

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.start is not None and self.start >= self.end:
            raise ValueError(f"start {self.start} must be before end {self.end}, which is not in the window")
        return self

    def days(self, params: WindowParams) -> Days:
        """The days to read: as named, or `length_days` before `end` and `overlap_days` more for rows that came late."""
        back = timedelta(days=params.length_days + params.overlap_days)
        return Days(self.start or self.end - back, self.end)


def named_window(text: str) -> dict[str, str] | None:
    """The window START:END or :END of a command line as the run's field, None where the text is empty."""
    if not text:
        return None
    start, _, end = text.partition(":")
    return {"end": end} | ({"start": start} if start else {})


def names_partition(name: str) -> bool:
    """Whether a relative path has a folder `date=...`."""
    return _PARTITION.search(name) is not None


def partition_day(name: str) -> date | None:
    """The day in a folder `date=YYYY-MM-DD` of a relative path; None where there is no such folder, or no such day."""
    found = _PARTITION.search(name)
    try:
        return date.fromisoformat(found[1]) if found and _DAY.fullmatch(found[1]) else None
    except ValueError:
        return None


def files_of_days(catalogue: Storage, days: Days | None, table: str | None = None) -> list[str]:
    """Names of the input's files, without the daily partitions of other days; all of them if `days` is None.

    Args:
        catalogue: the input.
        days: of the window, or None.
        table: such as `items`: leave out other tables; None for all.

    Raises:
        ConfigError: there is no file at this address.
    """
    names = sorted(catalogue.sizes())
    if not names:
        raise ConfigError(f"catalogue {catalogue.uri!r} holds no file; it must be a folder with items and interactions")
    return [
        name
        for name in names
        if (days is None or days.holds_file(name))
        and (table is None or name.split("/")[0].removesuffix(".parquet") == table)
    ]
