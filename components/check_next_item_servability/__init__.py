"""Tries the exported retriever of the next item in a fresh process, as the service runs it."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="check_next_item_servability",
    inputs=("catalog", "exported_retriever"),
    outputs=("next_item_servability",),
    params=("servability",),
    # It measures this machine: what another run measured says nothing of today.
    reusable=False,
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
)
