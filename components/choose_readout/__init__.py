"""Chooses what is served: how much of the query is the network's, and which moves vote beside it."""

from __future__ import annotations

from components.hppo_round import OUTPUTS as HPPO_OUTPUTS
from modit.core.step import Resources, Step

MODEL = HPPO_OUTPUTS[-1]
STEP = Step(
    name="choose_readout",
    inputs=("catalog", "patterns", "predictor", "cases", "index", MODEL),
    outputs=("readout",),
    params=("retrieval", "sampler", "build_trajectories"),
    per_domain=True,
    image="train",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=60,
    effort=5,
)
