"""Fetches what the retriever of the next item starts from: the champion's IDs, tokeniser and weights, or nothing."""

from __future__ import annotations

from modit.core.services import REGISTRY
from modit.core.step import Resources, Step

STEP = Step(
    name="fetch_starting_point",
    inputs=("catalog",),
    outputs=("starting_point",),
    params=("starting_point",),
    # It asks the registry, whose answer is another one after a release.
    reusable=False,
    image="release",
    needs=frozenset({REGISTRY}),
    resources=Resources(memory_gb=4),
)
