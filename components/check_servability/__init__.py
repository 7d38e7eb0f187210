"""Tries the exported sampler in a fresh process, as the service runs it."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="check_servability",
    inputs=("catalog", "index", "sampler", "second_stage"),
    outputs=("servability",),
    params=("servability",),
    per_domain=True,
    # It measures this machine: what another run measured says nothing of today.
    reusable=False,
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
)
