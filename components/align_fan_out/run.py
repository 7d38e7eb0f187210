"""Trains the policy by Soft-GRPO on the training intents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modit.core.seeds import derived_seed
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import TextSpace
from modit.fan_out.intents import IntentSets
from modit.fan_out.policy import load_policy
from modit.fan_out.rewards import SetReward
from modit.fan_out.soft_grpo import SoftGrpo
from modit.training.session import run_stage

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `text_space` and `fan_out_policy`; writes `aligned_fan_out_policy`: model.pt and curve.json."""
    params, reading = context.params.align_fan_out, context.params.train_fan_out
    space, policy = TextSpace.load(context.input("text_space")), load_policy(context.input("fan_out_policy"))
    judged = JudgedQueries.load(context.input("catalog"))
    intents = IntentSets.of(judged, QueryPart.TRAIN, space, reading.relevant_min, reading.prompt_words)
    reward = SetReward(params.reward, torch.from_numpy(space.items), policy.config.queries)
    stage = SoftGrpo("align_fan_out", intents, reward, params, policy.config.places)
    seed, folder = derived_seed(context.seed, "align_fan_out"), context.output("aligned_fan_out_policy")
    run_stage(policy, stage, params, seed, folder, context.scratch, context.logger)
    return {"intents": len(intents), "results_per_query": reward.depth}
