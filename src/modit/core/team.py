"""Processes that run one task together: the first decides and publishes, the others only help it to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _own(value: int) -> int:
    return value


@dataclass(frozen=True)
class Team:
    """Where this process stands among those that run a task.

    Attributes:
        rank: its number; 0 is the first.
        share: gives every process the first one's value; all must call it together.
    """

    rank: int = 0
    share: Callable[[int], int] = _own
