"""Soft-GRPO, equations (6) to (8) of R4T: rewards of a group of sampled outputs move the policy.

Outputs are drawn by the policy that they train (on-policy, one update for each group). There rho is 1, the clip is
idle, and the gradients of both KL terms are beta_1 and -beta_2 times that of the log-likelihood: with the paper's equal
weights they cancel. What keeps the policy near its start is then the number of steps and their size.

Shape legend: B intents, G outputs of an intent, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modit.fan_out.intents import Conditions, IntentSets
from modit.fan_out.params import SoftGrpoParams
from modit.fan_out.policy import FanOutPolicy
from modit.fan_out.rewards import SetReward
from modit.semantic_ids.losses import group_advantages
from modit.training.loop import Batch


def soft_grpo_loss(
    log_probabilities: Tensor,
    sampled: Tensor,
    written: Tensor,
    advantages: Tensor,
    *,
    clip_ratio: float,
    forward: float,
    reverse: float,
) -> Tensor:
    """Equation (8): E_t[-min(rho A, clip(rho) A) + beta_1 rho (log pi - log pi_old) - beta_2 log pi], [...].

    Args:
        log_probabilities: of the outputs' tokens under the policy [..., T].
        sampled: the same under the policy that drew them, taken without gradient [..., T].
        written: bool [..., T], where the policy had a choice; the mean is over these.
        advantages: of the outputs [...].
        clip_ratio: epsilon.
        forward: beta_1.
        reverse: beta_2.
    """
    difference = torch.where(written, log_probabilities - sampled.detach(), 0.0)
    ratio, gain = difference.exp(), advantages[..., None]
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip_ratio, 1 + clip_ratio) * gain)
    of_tokens = -surrogate + forward * ratio * difference - reverse * log_probabilities
    return torch.where(written, of_tokens, 0.0).sum(-1) / written.sum(-1).clamp_min(1)


class SoftGrpo:
    """Data and loss of the stage."""

    def __init__(self, name: str, intents: IntentSets, reward: SetReward, params: SoftGrpoParams, places: int) -> None:
        """Keeps the intents.

        Args:
            name: of the stage.
            intents: of training.
            reward: of an output.
            params: section `align_fan_out`.
            places: T of the policy.
        """
        self.name, self.intents, self.reward, self.params, self.places = name, intents, reward, params, places

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """`size` intents, and the numbers that their outputs are sampled by."""
        rows = torch.randint(len(self.intents), (size,), generator=generator)
        chosen = self.intents.conditions[rows]
        uniforms = torch.rand((size, self.params.group, self.places), generator=generator)
        return chosen.as_batch() | {"items": self.intents.items[rows], "uniforms": uniforms}

    def loss(self, model: FanOutPolicy, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation (8) of each intent [b], a mean over its group; figures are the rewards' means, and their spread."""
        params, group = self.params, self.params.group
        conditions = Conditions.in_batch(batch).repeated(group)
        outputs = model.write(conditions, batch["uniforms"].flatten(0, 1))
        queries, intents = model.query_vectors(conditions, outputs.tokens), conditions.tokens[:, 0]
        parts = self.reward.parts(queries, intents, batch["items"].repeat_interleave(group, 0))
        rewards = parts["reward"].unflatten(0, (-1, group))
        # dropout would make the policy that is trained another one than the policy that sampled
        training = model.training
        model.eval()
        scored = model.log_probabilities(conditions, outputs.tokens)
        model.train(training)
        loss = soft_grpo_loss(
            scored,
            scored.detach(),
            model.written(outputs.tokens),
            group_advantages(rewards).flatten(),
            clip_ratio=params.clip_ratio,
            forward=params.forward,
            reverse=params.reverse,
        )
        figures = {name: value.unflatten(0, (-1, group)).mean(1) for name, value in parts.items()}
        return loss.unflatten(0, (-1, group)).mean(1), figures | {"spread": rewards.std(1, correction=0)}
