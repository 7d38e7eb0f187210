"""The diffusion over sets of queries, from samples of the policy after and before reinforcement learning."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="train_set_diffusion",
    inputs=("catalog", "text_space", "fan_out_policy", "aligned_fan_out_policy"),
    outputs=("set_diffusion",),
    # samples are kept by the reward of align_fan_out
    params=("train_set_diffusion", "align_fan_out", "train_fan_out"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=30,
)
