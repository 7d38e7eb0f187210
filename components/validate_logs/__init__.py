"""Checks the input against the contract."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="validate_logs",
    outputs=("catalog", "quarantine", "validation"),
    params=("validate_logs", "window"),
    reads_catalogue=True,
    image="data",
    resources=Resources(memory_gb=4),
    timeout_minutes=240,
    effort=2,
    new_domain="extended",
)
