"""Translates the graph of a sampler once; each domain's weights are bound to it later."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="translate_sampler",
    inputs=("catalog",),
    outputs=("sampler_parts",),
    params=("model", "build_trajectories", "sampler"),
    image="release",
    resources=Resources(cpus=1, memory_gb=4),
    timeout_minutes=120,
    effort=6,
)
