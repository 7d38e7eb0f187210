"""Fan-out: the time of the policy and of the diffusion in one process, and Soft-GRPO with parts of the reward.

Run `PYTHONPATH=src:. python benchmarks/bench_fan_out.py RUN`; RUN has the artifacts `catalog`, `text_space` and
`fan_out_policy` of the pipeline `fan_out`. `--steps N` also trains N steps with each of the rewards: equation (1), and
equation (1) without parts. The time of both does not depend on their weights, so the diffusion's are fresh. The intents
are texts, and nothing is searched.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import TextSpace
from modit.fan_out.diffusion import Denoiser, DenoiserConfig, denoise_by_torch, noise_levels
from modit.fan_out.intents import Conditions, IntentSets
from modit.fan_out.params import FanOutParams, RewardParams, SetDiffusionParams, SoftGrpoParams
from modit.fan_out.policy import FanOutPolicy, load_policy
from modit.fan_out.rewards import SetReward
from modit.fan_out.soft_grpo import SoftGrpo
from modit.inference.fan_out import SetSampler
from modit.training.loop import train

BATCHES, ROUNDS = (8, 256), 5
SAMPLERS = (("sde", 1), ("sde", 4), ("sde", 16), ("heun", 8))
REWARDS: dict[str, dict[str, float]] = {
    "ground + diversity + alignment": {},
    "ground": {"diversity": 0.0, "alignment": 0.0},
    "ground + alignment": {"diversity": 0.0},
}


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    call()
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def latency(policy: FanOutPolicy, intents: IntentSets, space: TextSpace) -> None:
    """Prints milliseconds of each way from intents to the vectors of their queries, and how many times the policy's."""
    config = DenoiserConfig(policy.config.dimension, policy.config.queries)
    model, generator = Denoiser(config).eval(), torch.Generator().manual_seed(0)
    denoise = denoise_by_torch(model, 1.0)

    print("| batch | policy, ms | diffusion | steps | calls of the denoiser | ms | times faster |")
    for batch in BATCHES:
        texts = [intents.texts[place % len(intents)] for place in range(batch)]
        words = FanOutParams().prompt_words
        uniforms = torch.rand((batch, policy.config.places), generator=generator)
        own = fastest(partial(_written, policy, space, texts, words, uniforms))
        for solver, steps in SAMPLERS:
            params = SetDiffusionParams.model_validate({"solver": solver, "sampler_steps": steps})
            levels = noise_levels(params, model.config.sigma_data)
            sampler = SetSampler(denoise, space, config.rows, words, levels, solver)
            took = fastest(partial(sampler.sets, texts, 0))
            calls = 2 * steps - 1 if solver == "heun" else steps
            print(f"| {batch} | {own * 1e3:.1f} | {solver} | {steps} | {calls} | {took * 1e3:.1f} | {own / took:.2f} |")


def _written(policy: FanOutPolicy, space: TextSpace, texts: list[str], words: int, uniforms: Tensor) -> Tensor:
    conditions = Conditions.of(texts, space, words)
    return policy.query_vectors(conditions, policy.write(conditions, uniforms).tokens)


class Figures:
    """Prints the figures of training."""

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        """Prints one line."""
        names = ("ground", "diversity", "alignment", "set")
        print(f"| {step} | " + " | ".join(f"{figures[name]:.3f}" for name in names) + " |", flush=True)

    def rewind(self, step: int) -> None:
        """Nothing is kept."""


def ablations(run: Path, intents: IntentSets, space: TextSpace, steps: int) -> None:
    """Prints what each reward does to the figures of sampled sets."""
    for name, weights in REWARDS.items():
        print(f"\n{name}\n| step | ground | diversity | alignment | set |")
        policy = load_policy(run / "fan_out_policy")
        params = SoftGrpoParams(steps=steps, reward=RewardParams(kind="abstract", **weights))
        reward = SetReward(params.reward, torch.from_numpy(space.items), policy.config.queries)
        train(policy, SoftGrpo(name, intents, reward, params, policy.config.places), params, 0, Figures())


def main() -> None:
    """Measures the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=0, help="of training with each reward; 0 for none")
    arguments = parser.parse_args()
    space, reading = TextSpace.load(arguments.run / "text_space"), FanOutParams()
    judged = JudgedQueries.load(arguments.run / "catalog")
    intents = IntentSets.of(judged, QueryPart.TRAIN, space, reading.relevant_min, reading.prompt_words)
    latency(load_policy(arguments.run / "fan_out_policy"), intents, space)
    if arguments.steps:
        ablations(arguments.run, intents, space, arguments.steps)


if __name__ == "__main__":
    main()
