"""Measures every row on the held-out cases."""

from __future__ import annotations

from components.hppo_round import OUTPUTS as HPPO_OUTPUTS
from modit.core.step import Resources, Step

STEP = Step(
    name="evaluate",
    inputs=(
        "catalog",
        "patterns",
        "predictor",
        "trajectories",
        "cases",
        "index",
        "pretrained",
        "continued",
        "finetuned",
        *HPPO_OUTPUTS,
        "hppo_variants",
        "readout",
        "second_stage",
        "sampler",
        "champion",
    ),
    outputs=("evaluation",),
    params=("retrieval", "sampler"),
    of_started_from=("readout",),
    per_domain=True,
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    effort=15,
)
