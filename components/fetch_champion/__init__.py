"""Fetches what answers for the domain today, to judge the candidate against."""

from __future__ import annotations

from modit.core.services import REGISTRY
from modit.core.step import Resources, Step

STEP = Step(
    name="fetch_champion",
    # Of the sampler it needs nothing: it waits for it, so that the champion is that of the end of a long run.
    inputs=("catalog", "sampler"),
    outputs=("champion",),
    per_domain=True,
    reusable=False,
    # A release moves the champion: judged again, the run meets the new one.
    watches=(".releases",),
    image="release",
    needs=frozenset({REGISTRY}),
    resources=Resources(memory_gb=4),
)
