"""Publishes a night for each place, and dies there as by `kill -9`: `python -m tests.unit.features.crashing FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from feast.infra.passthrough_provider import PassthroughProvider

from modit.features.online import Materialiser
from modit.features.registry import AtomicRegistryStore
from modit.features.rows import OfflineRows
from tests.unit.features.conftest import Store, World

# Where to die, and at which call.
PLACES = {
    "in the second file of rows": (OfflineRows, "append", 2),
    "in the first batch": (PassthroughProvider, "ingest_df", 1),
    "between batches": (PassthroughProvider, "ingest_df", 3),
    "between views": (Materialiser, "run", 2),
    "in the registry": (AtomicRegistryStore, "_write_registry", 3),
    "before the last view": (Materialiser, "run", 3),
}


def die_at(owner: type, name: str, number: int) -> None:
    """Kills this process in that call of a method."""
    inner, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **options)

    setattr(owner, name, counted)


def main(folder: Path) -> None:
    """A child for each place, in a store of its own; importing Feast once is enough."""
    for place, where in PLACES.items():
        child = os.fork()
        if not child:
            die_at(*where)
            Store(folder / place).publish(World().night(0), batch=10)
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert died == -signal.SIGKILL, f"{place}: {died}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
