"""HPPO: each round draws candidates from the policy so far, labels them on the staged index, and prefers winners."""

from __future__ import annotations

from modit.core.step import Resources, Step

ROUNDS = 4
OUTPUTS = tuple(f"hppo_{number}" for number in range(1, ROUNDS + 1))


def _round(number: int) -> Step:
    before = () if number == 1 else (f"hppo_{number - 1}",)
    return Step(
        name=f"hppo_round_{number}",
        inputs=("catalog", "patterns", "predictor", "trajectories", "cases", "index", "finetuned", *before),
        outputs=(f"hppo_{number}",),
        params=("retrieval", "build_trajectories", "finetune", "sampler", "hppo"),
        per_domain=True,
        image="train",
        resources=Resources(cpus=2, memory_gb=8, gpus=1),
        timeout_minutes=480,
        effort=5,
        group="hppo",
    )


STEPS = tuple(_round(number) for number in range(1, ROUNDS + 1))
