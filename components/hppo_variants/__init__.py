"""Trains the variants of HPPO that the parameters name, as further rows of the report; none by default."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="hppo_variants",
    inputs=("catalog", "patterns", "predictor", "trajectories", "cases", "index", "finetuned"),
    outputs=("hppo_variants",),
    params=("retrieval", "build_trajectories", "finetune", "sampler", "hppo", "hppo_variants"),
    per_domain=True,
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
)
