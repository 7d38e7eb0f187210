"""Item neighbours whose votes are added to what the retriever of the next item says."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="fit_item_neighbours",
    inputs=("catalog", "item_codes", "next_item_retriever_adagrpo"),
    outputs=("item_neighbours",),
    params=("fit_item_neighbours", "evaluate_next_item"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=120,
    effort=20,
    new_domain="taken",
)
