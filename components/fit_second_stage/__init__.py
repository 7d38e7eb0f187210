"""Fits the second stage: how likely every item has the attribute, and how the served lists are reordered by it."""

from __future__ import annotations

from components.hppo_round import OUTPUTS as HPPO_OUTPUTS
from modit.core.step import Resources, Step

MODEL = HPPO_OUTPUTS[-1]
STEP = Step(
    name="fit_second_stage",
    inputs=("catalog", "patterns", "predictor", "cases", "index", MODEL, "readout"),
    outputs=("second_stage",),
    params=("retrieval", "sampler", "fit_second_stage"),
    per_domain=True,
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=120,
    effort=2,
)
