"""Text towers for search: plain, with SymmAligner, and one tower for both sides."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="train_towers",
    inputs=("catalog",),
    outputs=("towers",),
    params=("train_towers",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=100,
)
