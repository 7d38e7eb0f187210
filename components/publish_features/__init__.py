"""Publishes the items' features: rows offline, the newest of them online."""

from __future__ import annotations

from modit.core.services import FEATURE_STORE, REGISTRY
from modit.core.step import Resources, Step

STEP = Step(
    name="publish_features",
    inputs=("catalog", "patterns", "predictor"),
    outputs=("features",),
    params=("publish_features",),
    sharded=True,
    totals=("written", "removed", "online", "seconds"),
    lists=("services_dropped",),
    image="features",
    # The registry says which runs are in use: their feature services stay.
    needs=frozenset({FEATURE_STORE, REGISTRY}),
    resources=Resources(memory_gb=4),
    timeout_minutes=240,
    effort=3,
    # The store is outside of the run: that another run published the same does not say that it is there now.
    reusable=False,
    uses_folders=("feature_repo",),
)
