"""Binds what is promoted of a retriever of the next item into one unit: the bundle."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="bundle_next_item",
    inputs=("catalog", "exported_retriever", "next_item_evaluation", "next_item_verdict"),
    outputs=("next_item_bundle",),
    image="release",
)
