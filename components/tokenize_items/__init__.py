"""Semantic IDs of all items: codes of a residual quantiser of their embeddings."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="tokenize_items",
    inputs=("catalog", "starting_point"),
    outputs=("item_codes",),
    params=("tokenize_items",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    effort=10,
    new_domain="taken",
)
