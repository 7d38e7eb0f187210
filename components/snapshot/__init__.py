"""Versions the accepted input, the evaluation cases and the bundle with DVC, and pushes them."""

from __future__ import annotations

from modit.core.step import Step

# Dataset -> the artifacts that make it; the raw input comes on top. What else a release gets is one more name here.
DATASETS = {
    "catalog": ("catalog",),
    "cases": ("cases",),
    "champion": ("champion",),
    "bundle": ("sampler", "index", "report"),
}

STEP = Step(
    name="snapshot",
    inputs=tuple(dict.fromkeys(name for names in DATASETS.values() for name in names)),
    outputs=("versions",),
    params=("snapshot",),
    reads_catalogue=True,
    # A push can fail for the network's reasons.
    retries=3,
    reusable=False,
    image="release",
    timeout_minutes=240,
)
