"""The text space of intents and items, and the fan-out policy after its supervised start."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="train_fan_out",
    inputs=("catalog",),
    outputs=("text_space", "fan_out_policy"),
    params=("train_fan_out",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=20,
)
