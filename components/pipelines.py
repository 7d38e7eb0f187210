"""The pipelines: each names the artifacts that it is for, and the steps follow from what those are made from."""

from __future__ import annotations

from modit.core.registry import Pipeline

# The first is the one that is meant where none is named.
PIPELINES = (
    Pipeline(
        name="retrain",
        ends=("registration",),
        description="From input files to a judged and exported query generator.",
        nightly=True,
    ),
    Pipeline(
        name="semantic_ids",
        ends=("next_item_registration",),
        description="From sessions to a judged and exported retriever of the next item by semantic IDs.",
    ),
    Pipeline(
        name="towers",
        ends=("search_registration",),
        description="From judged text queries to a judged and exported retriever by text: towers, fused with BM25.",
    ),
    Pipeline(
        name="fan_out",
        ends=("fan_out_registration",),
        description="From intents with sets of items to a judged and exported diffusion over sets of queries.",
    ),
)
