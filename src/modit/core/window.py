"""The days that a run reads, which partitions of the input hold them, and the windows that were accepted before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from modit.core.errors import ConfigError
from modit.core.params import WindowParams
from modit.core.storage import Storage, digest_of

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
        """How many days they are."""
        return (self.end - self.start).days

    @property
    def end_instant(self) -> datetime:
        """Midnight, UTC, that ends them: later than all that happened on them."""
        return datetime.combine(self.end, time(), UTC)

    def refuse_future(self, today: date) -> None:
        """Raises ConfigError if the window ends after today, UTC: it would hold back every night until that has passed.

        Today itself may be read, incomplete as it is.
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
        and (table is None or name.split("/")[0].split(".")[0] in (table, "mapping"))
    ]


LEDGER_FOLDER = ".windows"


class WindowLedger:
    """One small JSON file for each accepted window of a catalogue: `.windows/CATALOGUE/END_START.json` beside the run.

    A window sees only windows that ended before it, so running an old night again gives what it gave then. Writing the
    same window twice leaves one record.
    """

    def __init__(self, run: Storage, catalogue: str) -> None:
        self.place = run.parent.at(LEDGER_FOLDER, digest_of(catalogue)[:16])

    def names_after(self, end: date) -> list[str]:
        """Files of the windows that ended after a day."""
        return [name for name in self._names() if name[:10] > end.isoformat()]

    def before(self, end: date, most: int) -> list[dict[str, Any]]:
        """Records of the last windows that ended before a day, oldest first."""
        records = (self.place.read_json(name) for name in self._names_before(end, most))
        return [record for record in records if record is not None]

    def digests_before(self, end: date, most: int) -> dict[str, str]:
        """sha256 of each of these records, by its file."""
        return {name: self.place.sha256(name) for name in self._names_before(end, most)}

    def accept(self, days: Days, record: dict[str, Any]) -> None:
        """Notes a window as accepted."""
        self.place.write_json(f"{days.end.isoformat()}_{days.start.isoformat()}.json", record)

    def _names_before(self, end: date, most: int) -> list[str]:
        return [name for name in self._names() if name[:10] < end.isoformat()][-most:]

    def _names(self) -> list[str]:
        return sorted(name for name in self.place.sizes() if name.endswith(".json") and not name.startswith("."))
