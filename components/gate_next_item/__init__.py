"""Turns two keys on a retriever of the next item: reads what was measured, and writes a verdict; computes nothing."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="gate_next_item",
    inputs=(
        "next_item_evaluation",
        "next_item_champion",
        "next_item_servability",
        "exported_retriever",
        "next_item_versions",
    ),
    outputs=("next_item_verdict",),
    params=("gate_next_item",),
    image="release",
)
