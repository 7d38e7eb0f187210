"""Soft-GRPO: the loss is equation (8), its gradient that of a reference by hand, and rewards rise with training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modit.fan_out.params import RewardParams, SoftGrpoParams
from modit.fan_out.rewards import SetReward
from modit.fan_out.soft_grpo import SoftGrpo, soft_grpo_loss
from modit.training.loop import train


class Silent:
    """Keeps the last figures."""

    def __call__(self, step, figures):
        self.figures = figures

    def rewind(self, step):
        pass


def reference(new, old, written, advantages, clip_ratio, forward, reverse):
    """Equation (8), token by token."""
    losses = []
    for row in range(len(new)):
        terms = []
        for place in range(new.shape[1]):
            if written[row, place]:
                ratio = torch.exp(new[row, place] - old[row, place])
                clipped = torch.clamp(ratio, 1 - clip_ratio, 1 + clip_ratio)
                term = -torch.min(ratio * advantages[row], clipped * advantages[row])
                term = term + forward * ratio * (new[row, place] - old[row, place]) - reverse * new[row, place]
                terms.append(term)
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses)


@given(st.integers(0, 1_000), st.floats(0, 1), st.floats(0, 1))
def test_value_and_gradient_are_those_of_equation_8_by_hand(seed, forward, reverse):
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(4, 6, generator=generator, dtype=torch.float64) * 3
    start = old + 0.5 * torch.randn(4, 6, generator=generator, dtype=torch.float64)
    written = torch.rand(4, 6, generator=generator) < 0.7
    written[:, 0] = True
    advantages = torch.randn(4, generator=generator, dtype=torch.float64)
    weights = {"clip_ratio": 0.2, "forward": forward, "reverse": reverse}
    first, second = start.clone().requires_grad_(), start.clone().requires_grad_()
    loss, by_hand = (
        soft_grpo_loss(first, old, written, advantages, **weights),
        reference(second, old, written, advantages, **weights),
    )
    assert torch.allclose(loss, by_hand)
    loss.sum().backward()
    by_hand.sum().backward()
    assert torch.allclose(first.grad, second.grad)


def test_at_the_sampling_policy_equal_weights_cancel_and_the_policy_gradient_is_left():
    old = -torch.rand(3, 5)
    written, advantages = torch.ones(3, 5, dtype=torch.bool), torch.tensor([1.0, -2.0, 0.0])
    gradients = []
    for weight in (0.0, 0.05):
        new = old.clone().requires_grad_()
        soft_grpo_loss(new, old, written, advantages, clip_ratio=0.2, forward=weight, reverse=weight).sum().backward()
        gradients.append(new.grad)
    assert torch.allclose(*gradients, atol=1e-7)
    assert torch.allclose(gradients[0], -advantages[:, None].expand(3, 5) / 5)


def test_beyond_the_clip_a_good_token_gains_nothing_more():
    new = torch.tensor([[1.0]], requires_grad=True)
    weights = {"clip_ratio": 0.2, "forward": 0.0, "reverse": 0.0}
    loss = soft_grpo_loss(new, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.ones(1), **weights)
    loss.sum().backward()
    assert float(loss) == pytest.approx(-1.2) and float(new.grad) == 0


def test_training_raises_the_reward(intents, policy, space):
    params = SoftGrpoParams(steps=60, batch=8, learning_rate=1e-2, reward=RewardParams(pool_share=0.2))
    reward = SetReward(params.reward, torch.from_numpy(space.items), policy.config.queries)
    stage = SoftGrpo("test", intents, reward, params, policy.config.places)
    first = stage.loss(policy, stage.batch(torch.Generator().manual_seed(0), 64))[1]["reward"].mean()
    trained = train(policy, stage, params, 0, Silent())
    last = stage.loss(trained, stage.batch(torch.Generator().manual_seed(0), 64))[1]["reward"].mean()
    assert last > first + 0.1
