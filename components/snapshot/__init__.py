"""Versions the accepted input, the evaluation cases and the bundle with DVC, and pushes them."""

from __future__ import annotations

from modit.core.step import Step

# Step -> dataset -> the artifacts that make it; the raw input comes on top. What else a release gets is one more name.
DATASETS = {
    "snapshot": {
        "catalog": ("catalog",),
        "cases": ("cases",),
        "champion": ("champion",),
        "bundle": ("sampler", "index", "report"),
    },
    "snapshot_next_item": {
        "catalog": ("catalog",),
        "champion": ("next_item_champion",),
        "starting_point": ("starting_point",),
        "bundle": ("exported_retriever", "next_item_evaluation"),
    },
}
VERSIONS = {"snapshot": "versions", "snapshot_next_item": "next_item_versions"}

STEPS = tuple(
    Step(
        name=name,
        inputs=tuple(dict.fromkeys(artifact for artifacts in datasets.values() for artifact in artifacts)),
        outputs=(VERSIONS[name],),
        params=("snapshot",),
        reads_catalogue=True,
        # A push can fail for the network's reasons.
        retries=3,
        reusable=False,
        image="release",
        timeout_minutes=240,
    )
    for name, datasets in DATASETS.items()
)
