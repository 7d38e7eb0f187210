"""Losses of alignment: their values, where their gradients go, and when AdaGRPO's gate opens."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modit.semantic_ids.losses import (
    Candidates,
    adaptive_gate,
    anchored_loss,
    dpo_loss,
    group_advantages,
    grpo_loss,
    negative_rewards,
    rad_dpo_preference,
    rollout_rewards,
    s_dpo_loss,
    sft_loss,
    similarities,
    similarity_weights,
    simpo_loss,
)

BETA, LENGTH = 1.7, 4


def candidates(tokens: list[list[int]], positives: int, rows: int = 1, seed: int = 0) -> Candidates:
    """The same candidates in every row, the first `positives` of them positive; zeros are padding."""
    ids = torch.tensor(tokens).expand(rows, -1, -1)
    values = -torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) * 3
    positive = (torch.arange(len(tokens)) < positives).expand(rows, -1)
    return Candidates(values.requires_grad_(), ids, ids > 0, positive, ~positive)


def gradient(loss: Tensor, values: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), values)[0]


SESSION = [[3, 10, 20, 2], [4, 11, 21, 2], [3, 10, 22, 2], [3, 12, 23, 2], [5, 13, 24, 2]]


def test_sft_is_the_negative_log_likelihood_of_all_positives():
    own = candidates(SESSION, 2)
    assert sft_loss(own).item() == pytest.approx(-own.log_probabilities[0, :2].sum().item())


def test_padding_has_no_part_in_any_loss():
    short = candidates([[3, 10, 2, 0], [4, 2, 0, 0], [3, 11, 12, 2]], 1)
    reference = torch.zeros(1, 3)
    for loss in (
        sft_loss,
        lambda c: dpo_loss(c, reference, BETA),
        lambda c: s_dpo_loss(c, reference, BETA),
        lambda c: simpo_loss(c, BETA, 0.5),
        lambda c: rad_dpo_preference(c, BETA),
    ):
        poisoned = replace(short, log_probabilities=torch.where(short.valid, short.log_probabilities, math.nan))
        assert torch.equal(loss(short), loss(poisoned))
        assert gradient(loss(poisoned), short.log_probabilities)[~short.valid].abs().sum() == 0


def test_dpo_of_the_reference_itself_is_log_two():
    own = candidates(SESSION, 2)
    assert dpo_loss(own, own.totals.detach(), BETA).item() == pytest.approx(math.log(2))


def test_s_dpo_with_one_negative_is_dpo():
    own = candidates(SESSION[:2], 1)
    reference = torch.tensor([[-4.0, -6.0]])
    assert torch.allclose(s_dpo_loss(own, reference, BETA), dpo_loss(own, reference, BETA))


def test_s_dpo_grows_with_each_further_negative_where_the_published_rad_dpo_falls():
    sdpo, rad = [], []
    for count in (2, 3, 4, 5):
        own = candidates(SESSION[:count], 1)
        equal = replace(own, log_probabilities=torch.full(own.tokens.shape, -1.0))
        sdpo.append(s_dpo_loss(equal, torch.zeros(1, count), BETA).item())
        rad.append(rad_dpo_preference(equal, BETA).item())
    assert sdpo == sorted(sdpo)
    assert rad == sorted(rad, reverse=True)


def test_simpo_with_one_negative_and_no_margin_is_rad_dpo_without_detachment():
    own = candidates(SESSION[:2], 1)
    assert torch.allclose(simpo_loss(own, BETA, 0.0), rad_dpo_preference(own, BETA, detach_prefix=False))


def test_simpo_falls_as_the_target_margin_falls():
    own = candidates(SESSION, 2)
    assert simpo_loss(own, BETA, 0.5).item() > simpo_loss(own, BETA, 0.0).item()


def test_equal_rewards_give_rad_dpo_the_margin_log_n_unless_it_is_subtracted():
    own = candidates(SESSION, 1)
    equal = replace(own, log_probabilities=torch.full(own.tokens.shape, -1.0))
    n = 4
    assert rad_dpo_preference(equal, BETA).item() == pytest.approx(math.log1p(1 / n), abs=1e-6)
    assert rad_dpo_preference(equal, BETA, subtract_log_n=True).item() == pytest.approx(math.log(2), abs=1e-6)


def test_detachment_leaves_the_value_of_the_loss_unchanged():
    own = candidates(SESSION, 2)
    assert torch.equal(
        rad_dpo_preference(own, BETA, detach_prefix=True), rad_dpo_preference(own, BETA, detach_prefix=False)
    )


def test_detachment_leaves_no_gradient_on_the_prefix_that_a_negative_shares_and_all_of_it_behind():
    own = candidates(SESSION, 1)
    detached = gradient(negative_rewards(own, BETA, True)[:, 0, 2], own.log_probabilities)[0, 2]
    attached = gradient(negative_rewards(own, BETA, False)[:, 0, 2], own.log_probabilities)[0, 2]
    assert detached[:2].tolist() == [0.0, 0.0]
    assert torch.equal(detached[2:], attached[2:])
    assert (attached > 0).all()


def test_detachment_goes_by_the_prefix_shared_with_the_positive_of_the_pair():
    own = candidates(SESSION, 2)
    with_other = gradient(negative_rewards(own, BETA, True)[:, 1, 2], own.log_probabilities)[0, 2]
    assert (with_other > 0).all()  # the second positive shares no prefix with the candidate


def _through_a_shared_prefix(shared: Tensor, tails: Tensor, ids: Tensor) -> Candidates:
    """Positive and negatives whose first tokens read the same log-probability, as those of a decoder do."""
    values = torch.cat([shared.expand(1, len(tails), -1), tails[None]], 2)
    positive = (torch.arange(len(tails)) == 0)[None]
    return Candidates(values, ids, ids > 0, positive, ~positive)


@pytest.mark.parametrize("detach", [False, True])
def test_prefix_gradients_cancel_in_a_single_pair_unless_the_negatives_is_detached(detach):
    shared = torch.tensor([-0.7, -0.3], requires_grad=True)
    tails = torch.tensor([[-1.0, -0.2], [-2.0, -0.1]])
    own = _through_a_shared_prefix(shared, tails, torch.tensor([[[3, 10, 20, 2], [3, 10, 21, 2]]]))
    margin = (BETA * own.totals / own.lengths)[:, 0] - negative_rewards(own, BETA, detach)[:, 0, 1]
    expected = BETA / LENGTH if detach else 0.0
    assert gradient(margin, shared).tolist() == pytest.approx([expected, expected], abs=1e-7)


def test_a_list_of_negatives_pushes_a_shared_prefix_by_one_less_the_softmax_of_those_that_share_it():
    """Specification, section 4.1: the coefficient is (beta / L)(1 - sum over S of q_j), q = softmax(-r)."""
    shared = torch.tensor([-0.7, -0.3], requires_grad=True)
    tails = torch.tensor([[-1.0, -0.2], [-2.0, -0.1], [-0.4, -0.9], [-1.5, -0.3]])
    ids = torch.tensor([[[3, 10, 20, 2], [3, 10, 21, 2], [3, 10, 22, 2], [4, 11, 23, 2]]])
    own = _through_a_shared_prefix(shared, tails, ids)
    other = own.log_probabilities.clone()
    other[0, 3, :2] = torch.tensor([-0.2, -0.6])  # the last negative has a prefix of its own
    own = replace(own, log_probabilities=other)
    rewards = (BETA * own.totals / own.lengths)[0]
    share = torch.softmax(-rewards[1:].detach(), 0)[:2].sum().item()
    margin = (rewards[0] - rewards[1:]).logsumexp(0)
    expected = BETA / LENGTH * (1 - share)
    slope = -torch.sigmoid(-margin).item() * expected
    loss = rad_dpo_preference(own, BETA, detach_prefix=False)
    assert torch.autograd.grad(margin, shared, retain_graph=True)[0].tolist() == pytest.approx(
        [expected, expected], rel=1e-5
    )
    assert gradient(loss, shared).tolist() == pytest.approx([slope, slope], rel=1e-5)


def test_without_multi_label_only_the_first_positive_counts_and_the_others_are_no_negatives():
    own = candidates(SESSION, 2)
    found = gradient(rad_dpo_preference(own, BETA, multi_label=False), own.log_probabilities)[0]
    assert found[1].abs().sum() == 0
    assert (found[0] < 0).all()


def test_all_positives_are_raised_and_all_negatives_lowered_behind_the_prefix():
    own = candidates(SESSION, 2)
    found = gradient(rad_dpo_preference(own, BETA), own.log_probabilities)[0]
    assert (found[:2] < 0).all()
    assert (found[2:, 2:] > 0).all()


def test_a_weight_scales_the_push_on_its_negative_and_keeps_the_value():
    own, half = candidates(SESSION, 1), torch.ones(1, 5, 5)
    half[0, 0, 3] = 0.5
    plain, weighted = rad_dpo_preference(own, BETA), rad_dpo_preference(own, BETA, weights=half)
    before, after = (gradient(loss, own.log_probabilities)[0] for loss in (plain, weighted))
    assert torch.allclose(plain, weighted)
    assert torch.allclose(after[3], before[3] / 2)
    assert torch.allclose(after[[0, 1, 2, 4]], before[[0, 1, 2, 4]])


@pytest.mark.parametrize("weigh", ["reward", "term"])
def test_a_weight_on_value_pushes_the_negative_of_a_well_separated_pair_harder(weigh):
    own = candidates(SESSION[:2], 1)
    own = replace(own, log_probabilities=torch.tensor([[[-0.5] * 4, [-4.0] * 4]], requires_grad=True))
    half = torch.full((1, 2, 2), 0.5)
    plain = gradient(rad_dpo_preference(own, BETA), own.log_probabilities)[0, 1]
    weighted = gradient(rad_dpo_preference(own, BETA, weights=half, weigh=weigh), own.log_probabilities)[0, 1]
    assert (weighted > plain).all()


@pytest.mark.parametrize("weigh", ["gradient", "reward", "term"])
def test_weights_of_one_change_nothing_and_get_no_gradient(weigh):
    own, weights = candidates(SESSION, 2), torch.ones(1, 5, 5, requires_grad=True)
    loss = rad_dpo_preference(own, BETA, weights=weights, weigh=weigh)
    assert torch.allclose(loss, rad_dpo_preference(own, BETA))
    assert torch.autograd.grad(loss.sum(), weights, allow_unused=True)[0] is None


def test_weights_fall_from_one_to_the_floor_between_both_quantiles():
    found = similarity_weights(torch.tensor([-1.0, 0.2, 0.4, 0.6, 1.0]), 0.2, 0.6, 0.5)
    assert found.tolist() == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.5])


def test_similarities_are_cosines_and_need_states():
    own = candidates(SESSION[:2], 1)
    states = torch.tensor([[[1.0, 0.0], [3.0, 3.0]]], requires_grad=True)
    found = similarities(replace(own, states=states))
    assert found[0, 0, 1].item() == pytest.approx(1 / math.sqrt(2))
    assert not found.requires_grad
    with pytest.raises(ValueError, match="states is None"):
        similarities(own)


def test_a_negative_with_the_id_of_any_positive_makes_no_pair():
    own = candidates([[3, 10, 2], [4, 11, 2], [4, 11, 2], [5, 12, 2]], 2)
    assert own.pairs()[0].nonzero().tolist() == [[0, 3], [1, 3]]


def test_an_id_that_is_the_start_of_another_is_not_the_same_id():
    own = candidates([[3, 10, 2, 0], [3, 10, 11, 2]], 1)
    assert own.shared_prefix()[0, 0, 1] == 2
    assert own.pairs().sum() == 1


def test_rows_without_pairs_have_no_preference_and_a_finite_gradient():
    own = candidates(SESSION, 5, rows=2)
    own = replace(own, positive=torch.stack([own.positive[0], torch.zeros(5, dtype=torch.bool)]))
    for loss in (rad_dpo_preference(own, BETA), s_dpo_loss(own, torch.zeros(2, 5), BETA), simpo_loss(own, BETA, 0.0)):
        assert loss.tolist() == [0.0, 0.0]
        assert gradient(loss, own.log_probabilities).abs().sum() == 0


ROLLOUTS = torch.tensor([[[-1.0, -2.0], [-0.5, -0.1], [-3.0, -0.2]]])
VALID = torch.ones(1, 3, 2, dtype=torch.bool)


def test_equal_rewards_give_grpo_no_gradient():
    values = ROLLOUTS.clone().requires_grad_()
    advantages = group_advantages(torch.full((1, 3), 0.1))
    assert gradient(grpo_loss(values, ROLLOUTS, VALID, advantages), values).abs().sum() == 0


def test_advantages_do_not_depend_on_scale_and_offset_of_the_rewards():
    rewards = torch.tensor([[0.1, 0.7, 0.2, 0.4]])
    assert torch.allclose(group_advantages(rewards), group_advantages(5 * rewards - 3), atol=1e-4)
    assert group_advantages(rewards).mean().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_grpo_raises_rollouts_above_the_mean_and_lowers_the_others(ratio):
    values = ROLLOUTS.clone().requires_grad_()
    advantages = group_advantages(torch.tensor([[2.0, 1.0, 0.0]]))
    found = gradient(grpo_loss(values, ROLLOUTS, VALID, advantages, ratio=ratio), values)[0]
    assert (found[0] < 0).all()
    assert (found[2] > 0).all()


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_grpo_pushes_no_further_once_the_ratio_is_outside_the_clip(ratio):
    advantages = torch.tensor([[1.0, 0.0, -1.0]])
    moved = (ROLLOUTS + advantages[..., None]).requires_grad_()
    loss = grpo_loss(moved, ROLLOUTS, VALID, advantages, clip=0.2, ratio=ratio)
    assert gradient(loss, moved).abs().sum() == 0
    back = (ROLLOUTS - advantages[..., None]).requires_grad_()
    assert gradient(grpo_loss(back, ROLLOUTS, VALID, advantages, clip=0.2, ratio=ratio), back).abs().sum() > 0


def test_the_kl_term_is_zero_at_the_reference_and_positive_elsewhere():
    still = torch.zeros(1, 3)
    same = grpo_loss(ROLLOUTS, ROLLOUTS, VALID, still, reference=ROLLOUTS, kl_weight=1.0)
    away = grpo_loss(ROLLOUTS, ROLLOUTS, VALID, still, reference=ROLLOUTS + 0.3, kl_weight=1.0)
    assert same.item() == 0
    assert away.item() > 0


def test_a_rollout_that_is_no_item_gets_the_lowest_reward():
    scores, is_item = torch.tensor([[0.3, 9.0, 0.1]]), torch.tensor([[True, False, True]])
    found = rollout_rewards(scores, is_item)
    assert found.argmin().item() == 1
    assert found[0, [0, 2]].tolist() == scores[0, [0, 2]].tolist()
    assert group_advantages(rollout_rewards(scores, torch.zeros(1, 3, dtype=torch.bool))).abs().sum() == 0


def test_a_mixture_of_weight_zero_is_the_likelihood_alone():
    nll, grpo = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 7.0])
    assert anchored_loss(nll, grpo, torch.tensor([0.0, 1.0])).tolist() == [1.0, 9.0]
    assert anchored_loss(nll, grpo, 0.5).tolist() == [3.5, 5.5]


def gate(reward: list[float], truth: float, negatives: list[float], policy_truth: float = -9.0, **changes):
    """One row of eight rollouts that the policy ranks from first to last; the truth is not among them by default."""
    rollouts = len(reward)
    given = {
        "policy": -torch.arange(rollouts).float()[None],
        "policy_truth": torch.tensor([policy_truth]),
        "reward": torch.tensor([reward]),
        "reward_truth": torch.tensor([truth]),
        "reward_negatives": torch.tensor([negatives]),
        "is_truth": torch.zeros(1, rollouts, dtype=torch.bool),
        "is_item": torch.ones(1, rollouts, dtype=torch.bool),
        "tau": 0.25,
        "rho": 0.5,
    }
    return adaptive_gate(**{**given, **changes})


SCORES = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def test_the_gate_admits_a_hard_row_whose_truth_the_reward_model_ranks_first_and_negatives_last():
    found = gate(SCORES, 0.9, [0.0, 0.05])
    assert found.admitted.tolist() == [True]
    assert (found.policy_rank.item(), found.reward_rank.item(), found.listed.item()) == (9, 1, 9)
    assert found.lift.item() == 8


@pytest.mark.parametrize(
    ("truth", "negatives", "policy_truth", "parts"),
    [
        (0.9, [0.0], 1.0, (False, True)),  # the policy knows it
        (0.45, [0.0], -9.0, (True, False)),  # the reward model does not
        (0.9, [0.0, 0.75], -9.0, (True, False)),  # it likes an item of another row
    ],
)
def test_the_gate_is_closed_where_one_diagnostic_fails(truth, negatives, policy_truth, parts):
    found = gate(SCORES, truth, negatives, policy_truth)
    assert (found.difficult.item(), found.discriminative.item()) == parts
    assert not found.admitted.item()


@pytest.mark.parametrize("transform", [lambda r: 3 * r - 7, torch.exp, lambda r: r.pow(3), torch.atan])
def test_the_gate_does_not_change_under_monotone_transforms_of_the_rewards(transform):
    generator = torch.Generator().manual_seed(3)
    rows = 200
    policy, reward = torch.randn(2, rows, 8, generator=generator)
    truth, negatives = torch.randn(rows, generator=generator), torch.randn(rows, 1, generator=generator) - 1
    shared = {
        "policy": policy,
        "policy_truth": policy.min(1).values,
        "is_truth": torch.zeros(rows, 8, dtype=torch.bool),
        "is_item": torch.ones(rows, 8, dtype=torch.bool),
        "tau": 0.25,
        "rho": 0.5,
    }
    plain = adaptive_gate(reward=reward, reward_truth=truth, reward_negatives=negatives, **shared)
    moved = adaptive_gate(
        reward=transform(reward), reward_truth=transform(truth), reward_negatives=transform(negatives), **shared
    )
    assert 0 < plain.admitted.sum() < rows
    assert torch.equal(plain.admitted, moved.admitted)
    assert torch.equal(plain.lift, moved.lift)


def test_a_reward_model_that_scores_everything_equally_is_not_trusted():
    assert not gate([0.5] * 8, 0.5, []).discriminative.item()
    assert not gate(SCORES, 0.9, [0.9]).discriminative.item()


def test_a_truth_that_the_policy_ties_with_others_is_not_difficult():
    assert not gate(SCORES, 0.9, [0.0], policy_truth=0.0).difficult.item()


def test_a_truth_among_the_rollouts_does_not_count_against_itself():
    is_truth = F.one_hot(torch.tensor([7]), 8).bool()
    scores = [*SCORES[:7], 0.9]
    found = gate(scores, 0.9, [0.0], policy_truth=-7.0, is_truth=is_truth)
    assert (found.listed.item(), found.policy_rank.item(), found.reward_rank.item()) == (8, 8, 1)
    assert found.admitted.item()


def test_rollouts_that_are_no_item_are_not_in_the_list():
    is_item = torch.arange(8)[None] >= 4
    found = gate([9.0] * 4 + SCORES[4:], 0.9, [0.0], is_item=is_item)
    assert (found.listed.item(), found.reward_rank.item()) == (5, 1)
