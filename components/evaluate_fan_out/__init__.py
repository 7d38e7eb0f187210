"""Measures every row of the task `fan_out` on the test intents."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="evaluate_fan_out",
    inputs=(
        *("catalog", "text_space", "fan_out_policy", "aligned_fan_out_policy", "set_diffusion"),
        *("exported_fan_out", "fan_out_champion"),
    ),
    outputs=("fan_out_evaluation",),
    # the pool is that of the reward, the sampler that of the diffusion, the intents those of training
    params=("evaluate_fan_out", "align_fan_out", "train_set_diffusion", "train_fan_out"),
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    effort=10,
)
