"""Windows that were accepted, kept beside the runs: what a later window is compared with."""

from __future__ import annotations

from datetime import date
from typing import Any

from modit.core.storage import Storage, digest_of
from modit.core.window import Days

LEDGER_FOLDER = ".windows"


class WindowLedger:
    """One small JSON file for each accepted window of a catalogue: `.windows/CATALOGUE/END_START.json` beside the run.

    A window sees only windows that ended before it, so running an old night again gives what it gave then. Writing the
    same window twice leaves one record.
    """

    def __init__(self, run: Storage, catalogue: str) -> None:
        """Args: `run` the run's folder; `catalogue` the address of its input."""
        self.place = run.parent.at(LEDGER_FOLDER, digest_of(catalogue)[:16])

    def names_before(self, end: date, most: int) -> list[str]:
        """Files of the last windows that ended before a day, oldest first."""
        return [name for name in self._names() if name[:10] < end.isoformat()][-most:]

    def names_after(self, end: date) -> list[str]:
        """Files of the windows that ended after a day."""
        return [name for name in self._names() if name[:10] > end.isoformat()]

    def before(self, end: date, most: int) -> list[dict[str, Any]]:
        """Records of the last windows that ended before a day, oldest first."""
        records = (self.place.read_json(name) for name in self.names_before(end, most))
        return [record for record in records if record is not None]

    def digests_before(self, end: date, most: int) -> dict[str, str]:
        """sha256 of each of these records, by its file."""
        return {name: self.place.sha256(name) for name in self.names_before(end, most)}

    def accept(self, days: Days, record: dict[str, Any]) -> None:
        """Notes a window as accepted."""
        self.place.write_json(f"{days.end.isoformat()}_{days.start.isoformat()}.json", record)

    def _names(self) -> list[str]:
        return sorted(name for name in self.place.sizes() if name.endswith(".json") and not name.startswith("."))
