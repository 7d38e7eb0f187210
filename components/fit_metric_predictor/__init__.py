"""Fits the density predictor of a domain."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="fit_metric_predictor",
    inputs=("catalog", "patterns", "retrieval_labels"),
    outputs=("predictor",),
    params=("label_anchors",),
    per_domain=True,
    image="train",
    resources=Resources(memory_gb=4),
    timeout_minutes=120,
)
