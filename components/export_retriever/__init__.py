"""Exports the retriever of the next item as ONNX files and proves parity."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="export_retriever",
    inputs=("catalog", "item_codes", "next_item_retriever_adagrpo", "item_neighbours"),
    outputs=("exported_retriever",),
    params=("evaluate_next_item",),
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=120,
    effort=5,
    new_domain="taken",
)
