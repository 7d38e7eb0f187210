"""Tries an exported retriever in a fresh process, as the service runs it."""

from __future__ import annotations

from components.judged_once import Retriever, steps
from modit.core.step import Resources, Step


def _step(retriever: Retriever) -> Step:
    return Step(
        name=f"check_{retriever.servability}",
        inputs=("catalog", retriever.exported),
        outputs=(retriever.servability,),
        params=("servability",),
        # It measures this machine: what another run measured says nothing of today.
        reusable=False,
        image="release",
        resources=Resources(cpus=2, memory_gb=8),
    )


STEPS = steps(_step)
