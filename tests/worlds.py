"""Worlds that tests of several folders work on."""

from __future__ import annotations

from pathlib import Path

from modit.data.demo import DemoParameters, write_demo_world

# What a model of the preset `tiny` needs to pass on it.
LENIENT = {"gate.item_same_floor": 0.01, "gate.pattern_same_floor": 0.01, "gate.classical_splits": []}


def small_world(folder: Path) -> Path:
    """Writes a demo world of 5,000 items in two domains."""
    write_demo_world(folder, DemoParameters(items=5_000, domains=2))
    return folder
