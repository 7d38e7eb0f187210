"""Puts into a catalogue what has come by a night: the partitions of the days before it, and the items of that night."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.core.errors import ConfigError
from modit.core.window import partition_day

ITEMS_FILE, ROWS_FOLDER = "items.parquet", "interactions"


@dataclass(frozen=True)
class ItemChange:
    """Items that come and go on one day.

    Attributes:
        day: from it on, the new items are there and the removed ones are not.
        new: ids of items that are met on that day, and not before.
        removed: ids of items that are met the day before, and not again.
    """

    day: date
    new: tuple[str, ...]
    removed: tuple[str, ...]

    @classmethod
    def choose(cls, world: Path, day: date, new: int, removed: int) -> ItemChange:
        """Chooses items whose coming and going the logs of a world allow; the same every time.

        Args:
            world: a demo world without faults.
            day: when.
            new: how many come.
            removed: how many go.

        Raises:
            ConfigError: the world has fewer such items.
        """
        met = {each: _items_met(world, each) for each in _days(world)}
        before = set().union(*(ids for each, ids in met.items() if each < day))
        later = set().union(*(ids for each, ids in met.items() if each >= day))
        last = max((each for each in met if each < day), default=day)
        coming, going = sorted(met.get(day, set()) - before), sorted(met.get(last, set()) - later)
        if len(coming) < new or len(going) < removed:
            found = f"{len(coming)} items are first met on {day}, {len(going)} last met the day before"
            raise ConfigError(f"{world}: {found}; needed: {new} and {removed}")
        return cls(day, tuple(coming[:new]), tuple(going[:removed]))

    def absent(self, end: date) -> tuple[str, ...]:
        """Items that are not in the catalogue on the night that ends its window with the day before `end`."""
        return self.removed if end > self.day else self.new


def deliver(catalogue: Path, world: Path, end: date, absent: Collection[str]) -> None:
    """Makes a folder hold what had been delivered by a night, and nothing else.

    Args:
        catalogue: the folder; made anew.
        world: the demo world.
        end: partitions of days before it are there.
        absent: ids that the item table leaves out.
    """
    shutil.rmtree(catalogue, ignore_errors=True)
    for path in sorted(world.rglob("*.parquet")):
        name = path.relative_to(world)
        day = partition_day(name.as_posix())
        if day is not None and day < end:
            (catalogue / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, catalogue / name)
    items = pq.read_table(world / ITEMS_FILE)
    gone = pc.is_in(items["item_id"], value_set=pa.array(sorted(absent), pa.string()))
    pq.write_table(items.filter(pc.invert(gone)), catalogue / ITEMS_FILE)


def _days(world: Path) -> list[date]:
    found = (partition_day(f"{path.name}/") for path in (world / ROWS_FOLDER).iterdir())
    return sorted(day for day in found if day)


def _items_met(world: Path, day: date) -> set[str]:
    files = (world / ROWS_FOLDER / f"date={day}").glob("*.parquet")
    return {item for path in files for item in pq.ParquetFile(path).read(["item_id"])["item_id"].to_pylist()}
