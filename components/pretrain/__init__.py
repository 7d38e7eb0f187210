"""Stage 0: dense prefix prediction on raw interaction sequences."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="pretrain",
    inputs=("catalog", "patterns"),
    outputs=("pretrained",),
    params=("build_trajectories", "model", "pretrain"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=6,
    new_domain="taken",
)
