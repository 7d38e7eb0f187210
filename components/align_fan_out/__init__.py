"""The fan-out policy after reinforcement learning on set-level rewards."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="align_fan_out",
    inputs=("catalog", "text_space", "fan_out_policy"),
    outputs=("aligned_fan_out_policy",),
    # what intents are read with is that of train_fan_out
    params=("align_fan_out", "train_fan_out"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=30,
)
