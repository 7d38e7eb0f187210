"""Clusters the positives of each domain, and decides which domains are eligible."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="assign_patterns",
    inputs=("catalog",),
    outputs=("patterns",),
    params=("assign_patterns",),
    decides_domains=True,
    image="data",
    resources=Resources(cpus=2, memory_gb=4),
    timeout_minutes=120,
)
