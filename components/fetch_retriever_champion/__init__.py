"""Fetches the retriever that answers a task today, to judge the candidate against."""

from __future__ import annotations

from components.judged_once import Retriever, steps
from modit.core.services import REGISTRY
from modit.core.step import Resources, Step


def _step(retriever: Retriever) -> Step:
    return Step(
        name=f"fetch_{retriever.champion}",
        # Of the exported retriever it needs nothing: it waits for it, so the champion is that of the end of a long run.
        inputs=("catalog", retriever.exported),
        outputs=(retriever.champion,),
        reusable=False,
        # A release moves the champion: judged again, the run meets the new one.
        watches=(".releases",),
        image="release",
        needs=frozenset({REGISTRY}),
        resources=Resources(memory_gb=4),
    )


STEPS = steps(_step)
