"""Registers a version of the retriever of the next item with digests, verdict and report, and its training curves."""

from __future__ import annotations

from modit.core.services import REGISTRY
from modit.core.step import Step

# Artifact of a training stage -> its section.
STAGES = {
    "next_item_retriever": "train_retriever",
    "next_item_retriever_rad_dpo": "align_rad_dpo",
    "next_item_retriever_adagrpo": "align_adagrpo",
}

STEP = Step(
    name="register_next_item",
    inputs=(
        "next_item_verdict",
        "next_item_versions",
        "next_item_evaluation",
        "exported_retriever",
        "next_item_bundle",
        *STAGES,
    ),
    outputs=("next_item_registration",),
    params=tuple(STAGES.values()),
    image="release",
    needs=frozenset({REGISTRY}),
)
