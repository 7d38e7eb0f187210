"""Versions the accepted input, the evaluation cases and the bundle with DVC, and pushes them."""

from __future__ import annotations

from components.judged_once import RETRIEVERS
from modit.core.step import Step

# Step -> dataset -> the artifacts that make it; the raw input comes on top. What else a release gets is one more name.
DATASETS = {
    "snapshot": {
        "catalog": ("catalog",),
        "cases": ("cases",),
        "champion": ("champion",),
        "bundle": ("sampler", "index", "report"),
    },
} | {
    f"snapshot_{each.name}": {
        "catalog": ("catalog",),
        "champion": (each.champion,),
        **{name: (artifact,) for name, artifact in each.versioned.items()},
        "bundle": (each.exported, each.evaluation),
    }
    for each in RETRIEVERS
}
VERSIONS = {"snapshot": "versions"} | {f"snapshot_{each.name}": each.versions for each in RETRIEVERS}

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
