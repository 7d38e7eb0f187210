"""Registers a model version with digests, verdict and report, and keeps the curves of its training."""

from __future__ import annotations

from components.hppo_round import OUTPUTS as HPPO_OUTPUTS
from modit.core.services import REGISTRY
from modit.core.step import Step

# Artifact of a training stage -> its section.
SHARED_STAGES = {"pretrained": "pretrain", "continued": "continue_pretrain"}
DOMAIN_STAGES = {"finetuned": "finetune", **dict.fromkeys(HPPO_OUTPUTS, "hppo")}

STEP = Step(
    name="register",
    inputs=(
        "verdict",
        "versions",
        "report",
        "sampler",
        "bundle",
        "features",
        *SHARED_STAGES,
        *DOMAIN_STAGES,
        "hppo_variants",
    ),
    outputs=("registration",),
    params=("model", "pretrain", "continue_pretrain", "finetune", "hppo"),
    image="release",
    needs=frozenset({REGISTRY}),
)
