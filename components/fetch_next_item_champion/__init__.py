"""Fetches the retriever of the next item that answers today, to judge the candidate against."""

from __future__ import annotations

from modit.core.services import REGISTRY
from modit.core.step import Resources, Step

STEP = Step(
    name="fetch_next_item_champion",
    # Of the exported retriever it needs nothing: it waits for it, so the champion is that of the end of a long run.
    inputs=("catalog", "exported_retriever"),
    outputs=("next_item_champion",),
    reusable=False,
    # A release moves the champion: judged again, the run meets the new one.
    watches=(".releases",),
    image="release",
    needs=frozenset({REGISTRY}),
    resources=Resources(memory_gb=4),
)
