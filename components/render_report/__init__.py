"""Writes one JSON and one self-contained page for all domains."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="render_report",
    inputs=("patterns", "evaluation"),
    outputs=("report",),
    image="release",
)
