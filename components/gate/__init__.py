"""Turns two keys: reads what was measured of quality and of serving, and writes a verdict; computes nothing."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="gate",
    inputs=("report", "evaluation", "champion", "servability", "sampler", "versions"),
    outputs=("verdict",),
    params=("gate",),
    image="release",
)
