"""Samples both policies, and trains a diffusion on each and a regressor on the aligned one's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modit.core.seeds import derived_seed
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import TextSpace
from modit.fan_out.diffusion import Denoiser, DenoiserConfig, RowRegression, RowRegressor, SetDenoising
from modit.fan_out.intents import IntentSets
from modit.fan_out.policy import load_policy
from modit.fan_out.rewards import SetReward
from modit.fan_out.synthesis import SampledSets
from modit.training.distributed import Network
from modit.training.loop import Stage
from modit.training.session import run_stage

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Folder -> the policy whose samples the diffusion in it learns from.
SOURCES = {"aligned": "aligned_fan_out_policy", "untrained": "fan_out_policy"}


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `text_space`, `fan_out_policy` and `aligned_fan_out_policy`.

    Writes `set_diffusion`: aligned/, untrained/ and regression/ with model.pt and curve.json each.

    Returns:
        Mean reward of the samples, `all` and `kept`, by folder.
    """
    params, reading = context.params.train_set_diffusion, context.params.train_fan_out
    space, judged = TextSpace.load(context.input("text_space")), JudgedQueries.load(context.input("catalog"))
    intents = IntentSets.of(judged, QueryPart.TRAIN, space, reading.relevant_min, reading.prompt_words)
    seed, rewards = derived_seed(context.seed, "train_set_diffusion"), {}

    def train(model: Network, stage: Stage[Network], name: str) -> None:
        folder, scratch = context.output("set_diffusion") / name, context.scratch / name
        for each in (folder, scratch):
            each.mkdir(exist_ok=True)
        run_stage(model, stage, params, seed, folder, scratch, context.logger)

    for name, source in SOURCES.items():
        policy = load_policy(context.input(source))
        reward = SetReward(context.params.align_fan_out.reward, torch.from_numpy(space.items), policy.config.queries)
        samples = SampledSets.of(policy, intents, reward, params.synthesis, seed)
        rewards[name] = samples.rewards
        size = params.model_dump(include={"width", "depth", "heads", "dropout"})
        config = DenoiserConfig(space.dimension, policy.config.queries, **size)
        torch.manual_seed(seed)
        train(Denoiser(config), SetDenoising(f"train_set_diffusion_{name}", samples, params, config), name)
        if name == "aligned":
            torch.manual_seed(seed)
            train(RowRegressor(config), RowRegression("train_set_diffusion_regression", samples, config), "regression")
    return {"rewards": rewards}
