"""The index over the towers' vectors: lists by the query view, codes in the item view."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="stage_consistent_index",
    inputs=("catalog", "towers"),
    outputs=("consistent_index",),
    params=("stage_consistent_index",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    effort=5,
)
