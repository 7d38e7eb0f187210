"""Asks the real index what it returns for anchors, and the scorer what it says of the results."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="label_anchors",
    inputs=("catalog", "patterns", "index"),
    outputs=("retrieval_labels",),
    params=("retrieval", "label_anchors"),
    per_domain=True,
    sharded=True,
    totals=("rows", "anchors_from_logs", "anchors_asked"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
)
