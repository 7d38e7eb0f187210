"""Registers a version of a retriever with digests, verdict and report, and its training curves."""

from __future__ import annotations

from components.judged_once import Retriever, steps
from modit.core.services import REGISTRY
from modit.core.step import Step


def _step(retriever: Retriever) -> Step:
    judged = (retriever.verdict, retriever.versions, retriever.evaluation, retriever.exported, retriever.bundle)
    return Step(
        name=f"register_{retriever.name}",
        inputs=(*judged, *retriever.stages),
        outputs=(f"{retriever.name}_registration",),
        params=tuple(section for section, _ in retriever.stages.values()),
        image="release",
        needs=frozenset({REGISTRY}),
    )


STEPS = steps(_step)
