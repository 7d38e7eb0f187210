"""Exports towers and indices as they are served, chooses how their lists are fused, and proves parity."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="export_towers",
    inputs=("catalog", "towers", "consistent_index"),
    outputs=("exported_towers",),
    # what is chosen on validation queries is chosen by the figure of the evaluation
    params=("evaluate_search", "train_towers"),
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=120,
    effort=5,
)
