"""Stage 1: the same on the trajectories of all domains."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="continue_pretrain",
    inputs=("catalog", "trajectories", "predictor", "pretrained"),
    outputs=("continued",),
    params=("build_trajectories", "model", "continue_pretrain"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=8,
    new_domain="taken",
)
