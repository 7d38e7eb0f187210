"""Preference alignment of the retriever: next items over items that were shown and passed over."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="align_rad_dpo",
    inputs=("catalog", "item_codes", "next_item_retriever"),
    outputs=("next_item_retriever_rad_dpo",),
    params=("align_rad_dpo",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=480,
    effort=40,
    new_domain="taken",
)
