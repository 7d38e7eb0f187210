"""Binds what is promoted of a retriever that is judged once into one unit: the bundle."""

from __future__ import annotations

from components.judged_once import Retriever, steps
from modit.core.step import Step


def _step(retriever: Retriever) -> Step:
    return Step(
        name=f"bundle_{retriever.name}",
        inputs=("catalog", retriever.exported, retriever.evaluation, retriever.verdict),
        outputs=(retriever.bundle,),
        image="release",
    )


STEPS = steps(_step)
