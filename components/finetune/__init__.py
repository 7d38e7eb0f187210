"""Stage 2: one target after the seeds, per domain."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="finetune",
    inputs=("catalog", "trajectories", "predictor", "continued"),
    outputs=("finetuned",),
    params=("build_trajectories", "finetune"),
    per_domain=True,
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
)
