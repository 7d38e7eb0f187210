"""The nights of the demo: what comes on each, and how each must end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from modit.core.names import SKIPPED_NO_DATA
from modit.data.demo import DemoParameters
from modit.data.nightly import ACCEPTED, REFUSED

WORLD = DemoParameters(items=5_200, domains=1, days=11)
PRESET = "tiny"
# Short windows: a day is then a fifth of one, as much as it takes for its drift to be seen.
OVERRIDES: dict[str, Any] = {"window.length_days": 3}
CHANGE_DAY, NEW_ITEMS, REMOVED_ITEMS = date(2026, 1, 8), 40, 20
_CHANGE = f"the late rows come; {NEW_ITEMS} items are new, {REMOVED_ITEMS} removed"

FAULTS = ("late:2026-01-07", "missing:2026-01-09", "malformed:2026-01-10", "drifting:2026-01-11")
# The malformed day is delivered once more: sound, and a part of it twice.
REPAIRED = tuple(fault.replace("malformed", "duplicated") for fault in FAULTS)


@dataclass(frozen=True)
class Night:
    """A night of the demo.

    Attributes:
        name: of its run.
        end: the day after the last one of its window.
        logs: what was done to what has come since the night before.
        expected: how it must end.
        faults: of the world as it has been delivered by then.
    """

    name: str
    end: date
    logs: str
    expected: str
    faults: tuple[str, ...] = FAULTS


SCENARIO = (
    Night("2026-01-08", date(2026, 1, 8), "sound; the last day's late sessions are not there yet", ACCEPTED),
    Night(
        "2026-01-09",
        date(2026, 1, 9),
        f"the late rows come; {NEW_ITEMS} items are new, {REMOVED_ITEMS} removed",
        ACCEPTED,
    ),
    Night("2026-01-10", date(2026, 1, 10), "no partition has come", SKIPPED_NO_DATA),
    Night("2026-01-11", date(2026, 1, 11), "the day is malformed", REFUSED),
    Night("2026-01-11-again", date(2026, 1, 11), "the day again, sound, a part of it twice", ACCEPTED, REPAIRED),
    Night("2026-01-12", date(2026, 1, 12), "a bot: all rows of the day name one item", ACCEPTED, REPAIRED),
)
