"""The peer of semantic IDs: SASRec on sessions, with the binary and with the full cross-entropy."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="train_sasrec",
    inputs=("catalog",),
    outputs=("sasrec",),
    params=("train_sasrec",),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=720,
    effort=500,
)
