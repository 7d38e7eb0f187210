"""Exports the whole sampler as one ONNX file and proves parity."""

from __future__ import annotations

from components.hppo_round import OUTPUTS as HPPO_OUTPUTS
from modit.core.step import Resources, Step

MODEL = HPPO_OUTPUTS[-1]
STEP = Step(
    name="export_sampler",
    inputs=("catalog", "predictor", "cases", "index", "sampler_parts", MODEL, "readout"),
    outputs=("sampler",),
    params=("retrieval", "build_trajectories", "sampler"),
    per_domain=True,
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=120,
    effort=2,
)
