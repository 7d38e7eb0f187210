"""Draws sequences of a pattern from low to high predicted density (Algorithm 1), and the cases."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="build_trajectories",
    inputs=("catalog", "patterns", "predictor"),
    outputs=("trajectories", "cases"),
    params=("assign_patterns", "build_trajectories"),
    per_domain=True,
    image="data",
    resources=Resources(memory_gb=4),
    timeout_minutes=120,
)
