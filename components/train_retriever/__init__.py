"""The autoregressive retriever: a decoder that continues a session by the semantic ID of its next item."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="train_retriever",
    inputs=("catalog", "item_codes", "starting_point"),
    outputs=("next_item_retriever",),
    params=("train_retriever",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=200,
    new_domain="taken",
)
