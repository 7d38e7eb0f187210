"""Registers a model version with digests, verdict and report."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="register",
    inputs=("verdict", "report", "sampler"),
    outputs=("registration",),
)
