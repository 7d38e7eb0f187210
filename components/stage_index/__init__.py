"""Builds the index next to the live one, pinned by its digest."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="stage_index",
    inputs=("catalog",),
    outputs=("index",),
    params=("stage_index",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    new_domain="taken",
)
