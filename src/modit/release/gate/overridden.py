"""Thresholds that a run set for itself: who starts a run may override any parameter, those of the gate too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modit.core.params import nested

# Sections that say what a candidate must reach.
_JUDGING = ("gate", "servability")


def overridden_thresholds(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's overrides that say what it is held to, such as `{"gate.noise_floor": 0}`, by name.

    Args:
        overrides: of the run, nested or dotted.
    """
    sections = nested(dict(overrides))
    own = {f"{section}.{name}": value for section in _JUDGING for name, value in sections.get(section, {}).items()}
    return dict(sorted(own.items()))
