"""Reads the report and writes a verdict with its reasons; computes nothing."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="gate",
    inputs=("report", "sampler", "versions"),
    outputs=("verdict",),
    params=("gate",),
    image="release",
)
