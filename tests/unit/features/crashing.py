"""Publishes a night and dies on the way, as `kill -9` does: `python -m tests.unit.features.crashing FOLDER WHERE`."""

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


if __name__ == "__main__":
    die_at(*PLACES[sys.argv[2]])
    Store(Path(sys.argv[1])).publish(World().night(0), batch=10)
