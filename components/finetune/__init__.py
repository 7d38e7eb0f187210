"""Stage 2: one target after the seeds, per domain."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="finetune",
    inputs=("catalog", "patterns", "predictor", "trajectories", "cases", "index", "continued"),
    outputs=("finetuned",),
    params=("retrieval", "build_trajectories", "finetune", "sampler"),
    per_domain=True,
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=480,
    effort=7,
)
