"""Exports the diffusion over sets of queries as it is served, chooses its guidance and mixture, and proves parity."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="export_fan_out",
    inputs=("catalog", "text_space", "set_diffusion"),
    outputs=("exported_fan_out",),
    # what is chosen on validation intents is chosen by the figure of the evaluation, at its pool
    params=("evaluate_fan_out", "align_fan_out", "train_set_diffusion", "train_fan_out"),
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=120,
    effort=8,
)
