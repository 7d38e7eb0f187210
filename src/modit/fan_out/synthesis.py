"""Samples of a policy that a diffusion learns from: for each training intent, sets of queries and what they find."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modit.fan_out.intents import Conditions, IntentSets
from modit.fan_out.params import SynthesisParams
from modit.fan_out.policy import FanOutPolicy
from modit.fan_out.rewards import SetReward

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class SampledSets:
    """Targets of a diffusion.

    Attributes:
        conditions: of Q intents.
        rows: unit vectors of what a set consists of, float16 [Q, S, L, d]; half as large as float32, and as good.
        rewards: mean reward of the samples before any was left out, and of those that are kept.
    """

    conditions: Conditions
    rows: Tensor
    rewards: dict[str, float]

    @classmethod
    def of(
        cls, policy: FanOutPolicy, intents: IntentSets, reward: SetReward, params: SynthesisParams, seed: int
    ) -> SampledSets:
        """Samples a policy for each intent.

        Args:
            policy: in evaluation mode.
            intents: of training.
            reward: by which samples are kept.
            params: of the synthesis.
            seed: of the samples.
        """
        generator = torch.Generator().manual_seed(seed)
        rows, rewards, at_once = [], [], max(1, _ROWS_AT_ONCE // params.samples)
        for start in range(0, len(intents), at_once):
            these = slice(start, start + at_once)
            conditions = intents.conditions[these].repeated(params.samples)
            uniforms = torch.rand((len(conditions), policy.config.places), generator=generator)
            queries = policy.query_vectors(conditions, policy.write(conditions, uniforms, params.temperature).tokens)
            items = intents.items[these].repeat_interleave(params.samples, 0)
            rewards.append(reward.parts(queries, conditions.tokens[:, 0], items)["reward"])
            found = queries if params.rows == "query" else reward.items[(queries @ reward.items.T).argmax(-1)]
            rows.append(found.half())
        table = torch.cat(rewards).unflatten(0, (-1, params.samples))
        kept = max(1, round(params.kept * params.samples))
        best = table.argsort(dim=1, descending=True, stable=True)[:, :kept]
        targets = torch.cat(rows).unflatten(0, (-1, params.samples))
        chosen = targets[torch.arange(len(targets))[:, None], best]
        means = {"all": float(table.mean()), "kept": float(table.gather(1, best).mean())}
        return cls(intents.conditions, chosen, means)

    def draw(self, generator: torch.Generator, size: int) -> tuple[Conditions, Tensor]:
        """Conditions of random intents, and one target of each, float32 [size, L, d]."""
        intents = torch.randint(len(self.conditions), (size,), generator=generator)
        samples = torch.randint(self.rows.shape[1], (size,), generator=generator)
        return self.conditions[intents], self.rows[intents, samples].float()


def shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Rows [B, L, d] in a random order of each set: a set has none."""
    order = torch.rand(rows.shape[:2], generator=generator).argsort(1)
    return rows.gather(1, order[..., None].expand_as(rows))
