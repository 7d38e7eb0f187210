"""Turns two keys on a retriever: reads what was measured, and writes a verdict; computes nothing."""

from __future__ import annotations

from components.judged_once import Retriever, steps
from modit.core.step import Step


def _step(retriever: Retriever) -> Step:
    inputs = (
        retriever.evaluation,
        retriever.champion,
        retriever.servability,
        retriever.exported,
        retriever.versions,
    )
    return Step(
        name=retriever.gate, inputs=inputs, outputs=(retriever.verdict,), params=(retriever.gate,), image="release"
    )


STEPS = steps(_step)
