"""Measures every row of the task `next_item` on the last item of each session."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="evaluate_next_item",
    inputs=(
        "catalog",
        "item_codes",
        "next_item_retriever",
        "next_item_retriever_rad_dpo",
        "next_item_retriever_adagrpo",
        "sasrec",
        "exported_retriever",
        "next_item_champion",
    ),
    outputs=("next_item_evaluation",),
    params=("evaluate_next_item",),
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    effort=40,
)
