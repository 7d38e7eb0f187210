"""Publishes a second night, dying in one place as by `kill -9`: `python -m tests.unit.features.crashing FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
from feast.infra.passthrough_provider import PassthroughProvider
from feast.infra.registry.registry import Registry

from modit.features.publish import Materialiser
from modit.features.rows import OfflineRows
from tests.unit.features.conftest import Store, World

# Where to die, and at which call of the second night.
PLACES = {
    "before anything": (Path, "replace", 1),
    "in a file of rows": (pq.ParquetWriter, "write_batch", 2),
    "before the first file of rows has its name": (Path, "replace", 2),
    "before the second file of rows": (OfflineRows, "append", 2),
    "in the registry, at the declarations": (os, "fsync", 1),
    "in the first batch": (PassthroughProvider, "ingest_df", 1),
    "between batches": (PassthroughProvider, "ingest_df", 3),
    "before a view is noted": (Registry, "apply_materialization", 1),
    "between views": (Materialiser, "run", 2),
    "in the registry, at a view": (os, "fsync", 3),
    "before the last view": (Materialiser, "run", 3),
}
BATCH = 10


def second_night(world: World) -> World:
    """What the world is a night later: some items differ, one has gone, one has come, all densities are new."""
    for number in (2, 17, 33):
        world.vectors[f"item {number}"] = -world.vector(f"item {number}")
    world.item_ids.remove("item 5")
    world.item_ids.append("item new")
    world.densities = {each: 0.5 + number / 100 for number, each in enumerate(world.item_ids)}
    return world


def die_at(owner: type | ModuleType, name: str, number: int) -> None:
    """Kills this process in that call of a function."""
    inner, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **options)

    setattr(owner, name, counted)


def main(folder: Path) -> None:
    """A child for each place, in a store of its own; importing Feast once is enough."""
    for number, (place, where) in enumerate(PLACES.items()):
        store = Store(folder / f"{number}")
        store.publish(World().night(0), batch=BATCH)
        child = os.fork()
        if not child:
            die_at(*where)
            store.publish(second_night(World()).night(1), batch=BATCH)
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert died == -signal.SIGKILL, f"{place}: {died}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
