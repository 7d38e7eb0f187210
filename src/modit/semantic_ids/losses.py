"""Preference and reward losses over semantic IDs, from the log-probabilities of their tokens. Pure torch.

All losses return one number for each row (a session, as prompt, with its candidates), so that a caller can weigh rows.
Papers: DPO (Rafailov et al., NeurIPS 2023), S-DPO (Chen et al., NeurIPS 2024), SimPO (Meng et al., NeurIPS 2024),
RAD-DPO (arXiv 2602.23964), GRPO (Shao et al., arXiv 2402.03300), AdaGRPO (arXiv 2606.08480).

Shape legend: B rows, C candidates of a row, W and V the same candidates as preferred and as rejected ones of a pair
(both C), T tokens of the longest candidate, END included, K rollouts of a row, M negatives from other rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Weighing = Literal["gradient", "reward", "term"]

# Stands for minus infinity in sums of exponentials: its gradient is zero, where that of -inf is not a number.
_NOTHING = -1e30


@dataclass(frozen=True)
class Candidates:
    """Candidate IDs of B prompts, as the policy scores them.

    Attributes:
        log_probabilities: log pi(y_t | x, y_<t) of each token [B, C, T]; what stands at padding is not read.
        tokens: int64 [B, C, T], the codes of an ID and END.
        valid: bool [B, C, T], false at padding.
        positive: bool [B, C], candidates that the session holds (Y+); the first of a row is the next item.
        negative: bool [B, C], candidates that were shown and passed over (Y-). A candidate that is neither is padding.
        states: last hidden state of each candidate [B, C, H]; only `similarities` reads it.
    """

    log_probabilities: Tensor
    tokens: Tensor
    valid: Tensor
    positive: Tensor
    negative: Tensor
    states: Tensor | None = None

    @property
    def of_tokens(self) -> Tensor:
        """Log-probabilities with zero at padding [B, C, T]."""
        return torch.where(self.valid, self.log_probabilities, 0.0)

    @property
    def totals(self) -> Tensor:
        """Log pi(y | x) of each candidate [B, C]."""
        return self.of_tokens.sum(-1)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each candidate, |y| [B, C]; 1 for padding, so that it can be divided by."""
        return self.valid.sum(-1).clamp_min(1)

    def first_positive(self) -> Candidates:
        """A copy with one positive for each row, the first; the others are neither positive nor negative."""
        return replace(self, positive=self.positive & (self.positive.cumsum(1) == 1))

    def shared_prefix(self) -> Tensor:
        """Number of leading tokens that each two candidates share, int64 [B, C, C]."""
        same = (self.tokens[:, :, None] == self.tokens[:, None]) & self.valid[:, :, None] & self.valid[:, None]
        return same.cumprod(-1).sum(-1)

    def pairs(self) -> Tensor:
        """Which candidates make a pair of a preferred (first) and a rejected one, bool [B, W, V].

        Items may share an ID. A negative with the ID of a positive says nothing about the ID: it makes no pair.
        """
        lengths = self.valid.sum(-1)
        shared = self.shared_prefix()
        same_id = (shared == lengths[:, :, None]) & (shared == lengths[:, None])
        of_a_positive = (same_id & self.positive[:, :, None]).any(1)
        return self.positive[:, :, None] & (self.negative & ~of_a_positive)[:, None]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over all dimensions but the first of what is counted; 0 where nothing is."""
    rows = len(values)
    kept = torch.where(counted, values, 0.0).reshape(rows, -1).sum(1)
    return kept / counted.reshape(rows, -1).sum(1).clamp_min(1)


def sft_loss(candidates: Candidates) -> Tensor:
    """Negative log-likelihood of all positives, L_SFT = - sum over Y+ of log pi(y | x) (RAD-DPO), [B]."""
    return -torch.where(candidates.positive, candidates.totals, 0.0).sum(1)


def dpo_loss(candidates: Candidates, reference: Tensor, beta: float) -> Tensor:
    """DPO, Eq. 7: -log sigmoid(beta (log-ratio of the preferred one - that of the rejected one)), mean over pairs [B].

    Args:
        candidates: scored by the policy.
        reference: log pi_ref(y | x) of each candidate [B, C].
        beta: > 0.
    """
    ratio = beta * (candidates.totals - reference)
    return _mean(-F.logsigmoid(ratio[:, :, None] - ratio[:, None]), candidates.pairs())


def s_dpo_loss(candidates: Candidates, reference: Tensor, beta: float) -> Tensor:
    """S-DPO's loss: -log sigmoid(-log sum_l exp(ratio_l - ratio_w)), mean over positives [B].

    Args:
        candidates: scored by the policy.
        reference: log pi_ref(y | x) of each candidate [B, C].
        beta: > 0.
    """
    ratio, pairs = beta * (candidates.totals - reference), candidates.pairs()
    margin = _log_sum_exp(ratio[:, None] - ratio[:, :, None], pairs)
    return _mean(-F.logsigmoid(-margin), pairs.any(2))


def simpo_loss(candidates: Candidates, beta: float, gamma: float) -> Tensor:
    """SimPO, Eq. 6: -log sigmoid(r_w - r_l - gamma) with r = beta / |y| log pi(y | x), mean over pairs [B].

    Args:
        candidates: scored by the policy; no reference.
        beta: > 0.
        gamma: target margin, >= 0.
    """
    reward = beta * candidates.totals / candidates.lengths
    return _mean(-F.logsigmoid(reward[:, :, None] - reward[:, None] - gamma), candidates.pairs())


def similarities(candidates: Candidates) -> Tensor:
    """Cosine of the last hidden states of each two candidates [B, C, C], without gradient (RAD-DPO, RDRW)."""
    if candidates.states is None:
        raise ValueError("states is None; similarities need the hidden state of each candidate")
    unit = F.normalize(candidates.states.detach().float(), dim=-1)
    return unit @ unit.transpose(1, 2)


def similarity_weights(similarity: Tensor, low: float, high: float, floor: float) -> Tensor:
    """Weight of a negative by its similarity to the positive (RAD-DPO, RDRW): 1 for unlike ones, `floor` for like ones.

    The paper names both ends and leaves open what lies between: here it is linear, the simplest that has no jump.

    Args:
        similarity: any shape.
        low: up to here the weight is 1; a quantile of the similarities of many pairs.
        high: from here on the weight is `floor`; a higher quantile.
        floor: in [0, 1]; the paper's is 0.5.
    """
    return 1 - (1 - floor) * ((similarity - low) / max(high - low, 1e-12)).clamp(0, 1)


def negative_rewards(candidates: Candidates, beta: float, detach_prefix: bool) -> Tensor:
    """Reward of each candidate V as the rejected one of a pair, beta / |y| log pi(y | x) [B, W, V] (RAD-DPO, TLGD).

    Args:
        candidates: scored by the policy.
        beta: > 0.
        detach_prefix: no gradient flows through the tokens that V shares with W at the start; the value is the same.
    """
    of_tokens = candidates.of_tokens
    if not detach_prefix:
        return (beta * of_tokens.sum(-1) / candidates.lengths)[:, None].expand(-1, of_tokens.shape[1], -1)
    places = torch.arange(of_tokens.shape[2], device=of_tokens.device)
    shared = places < candidates.shared_prefix()[..., None]  # [B, W, V, T]
    kept = torch.where(shared, of_tokens.detach()[:, None], of_tokens[:, None])
    return beta * kept.sum(-1) / candidates.lengths[:, None]


def rad_dpo_preference(
    candidates: Candidates,
    beta: float,
    *,
    detach_prefix: bool = True,
    weights: Tensor | None = None,
    weigh: Weighing = "gradient",
    subtract_log_n: bool = False,
    multi_label: bool = True,
) -> Tensor:
    """L_pref of RAD-DPO: mean over positives of -log sigmoid(z), z = log sum_l exp(r_w - r_l), [B].

    The published sum is over exp(r_w - r_l), not S-DPO's over exp(r_l - r_w): with equal rewards z = log n. So more
    negatives look like a larger margin, and the negative that is already the least likely is pushed down most.

    Args:
        candidates: scored by the policy.
        beta: of the rewards, > 0. The paper's is not known; SimPO uses 2 to 2.5.
        detach_prefix: TLGD, see `negative_rewards`.
        weights: RDRW, of each pair [B, W, V] in [0, 1]; taken without gradient. None for 1.
        weigh: what a weight multiplies, which the paper leaves open. `gradient` scales the push on the negative and
            keeps the value, as TLGD does. `reward` multiplies r_l, which is below 0, so that the margin shrinks, and
            `term` the exponential, which shrinks it too: where a pair is well separated, both push a negative of low
            weight harder than one of weight 1, the reverse of what the weights are for.
        subtract_log_n: whether z is less by log n, so that the number of negatives does not change the margin. Off in
            the paper.
        multi_label: MLGC's positives, all of them; off keeps the first one.
    """
    chosen = candidates if multi_label else candidates.first_positive()
    pairs = chosen.pairs()
    preferred = beta * chosen.totals / chosen.lengths
    rejected = negative_rewards(chosen, beta, detach_prefix)
    terms = preferred[:, :, None] - (rejected if weights is None else _weighted(rejected, weights.detach(), weigh))
    if weights is not None and weigh == "term":
        terms = terms + weights.detach().clamp_min(1e-12).log()
    margin = _log_sum_exp(terms, pairs)
    if subtract_log_n:
        margin = margin - pairs.sum(2).clamp_min(1).log()
    return _mean(-F.logsigmoid(margin), pairs.any(2))


def _weighted(rewards: Tensor, weights: Tensor, weigh: Weighing) -> Tensor:
    """Rewards whose gradient, or whose value, is scaled by the weights."""
    if weigh == "gradient":
        return weights * rewards + ((1 - weights) * rewards).detach()
    return weights * rewards if weigh == "reward" else rewards


def _log_sum_exp(terms: Tensor, counted: Tensor) -> Tensor:
    """Log of the sum over the last dimension of the exponentials that are counted; 0 where none is."""
    found = torch.where(counted, terms, _NOTHING).logsumexp(-1)
    return torch.where(counted.any(-1), found, 0.0)


def rollout_rewards(scores: Tensor, is_item: Tensor, margin: float = 1.0) -> Tensor:
    """Rewards of rollouts, where some are no item and must have the lowest of their group [B, K].

    The paper does not say what an ID without an item gets. Here it gets the lowest score of the group's items less
    `margin` standard deviations of these scores (less `margin` where they are equal): it depends on the scores' order
    and spread alone, as the normalised advantages do. A group without any item has equal rewards, so no gradient.

    Args:
        scores: of the reward model [B, K]; what stands where there is no item is not read.
        is_item: bool [B, K].
        margin: > 0.
    """
    known = torch.where(is_item, scores, 0.0)
    count = is_item.sum(1, keepdim=True).clamp_min(1)
    mean = known.sum(1, keepdim=True) / count
    spread = (torch.where(is_item, scores - mean, 0.0).square().sum(1, keepdim=True) / count).sqrt()
    lowest = torch.where(is_item, scores, torch.inf).amin(1, keepdim=True)
    lowest = lowest - margin * torch.where(spread > 0, spread, 1.0)
    filled = torch.where(is_item, scores, lowest)
    return torch.where(is_item.any(1, keepdim=True), filled, 0.0)


def group_advantages(rewards: Tensor, delta: float = 1e-6) -> Tensor:
    """GRPO's A_k = (r_k - mean r) / (std r + delta) over the rollouts of a row [B, K]; equal rewards give exactly 0."""
    centred = rewards - rewards.mean(1, keepdim=True)
    equal = (rewards == rewards[:, :1]).all(1, keepdim=True)
    return torch.where(equal, 0.0, centred / (rewards.std(1, correction=0, keepdim=True) + delta))


def grpo_loss(
    log_probabilities: Tensor,
    sampled: Tensor,
    valid: Tensor,
    advantages: Tensor,
    *,
    clip: float = 0.2,
    ratio: Literal["token", "sequence"] = "token",
    reference: Tensor | None = None,
    kl_weight: float = 0.0,
) -> Tensor:
    """GRPO, Eq. 3: -(1/K) sum_k min(rho_k A_k, clip(rho_k, 1 +- eps) A_k), and a KL term if wanted [B].

    Args:
        log_probabilities: of the rollouts' tokens under the policy [B, K, T].
        sampled: the same under the policy that drew them, without gradient [B, K, T].
        valid: bool [B, K, T], false at padding.
        advantages: [B, K].
        clip: eps; AdaGRPO does not give its own, PPO's customary 0.2.
        ratio: of each token, with the mean over a rollout's tokens (GRPO), or of the whole rollout (AdaGRPO writes
            rho_k). With one update for each batch of rollouts both are 1 and the gradients differ only by the length.
        reference: log-probabilities of the tokens under the reference [B, K, T].
        kl_weight: of the estimate exp(d) - d - 1, d = log pi_ref - log pi, of each token (GRPO, Eq. 4); AdaGRPO does
            not say whether it has one. Off, because its anchor is the NLL.
    """
    lengths = valid.sum(-1).clamp_min(1)
    difference = torch.where(valid, log_probabilities - sampled.detach(), 0.0)
    if ratio == "sequence":
        weight = difference.sum(-1).exp()
        objective = torch.minimum(weight * advantages, weight.clamp(1 - clip, 1 + clip) * advantages)
    else:
        weight, gain = difference.exp(), advantages[..., None]
        of_tokens = torch.minimum(weight * gain, weight.clamp(1 - clip, 1 + clip) * gain)
        objective = torch.where(valid, of_tokens, 0.0).sum(-1) / lengths
    loss = -objective.mean(1)
    if reference is not None and kl_weight:
        away = torch.where(valid, reference.detach() - log_probabilities, 0.0)
        loss = loss + kl_weight * ((away.exp() - away - 1).sum(-1) / lengths).mean(1)
    return loss


def anchored_loss(nll: Tensor, grpo: Tensor, weight: Tensor | float) -> Tensor:
    """L = L_NLL + weight * L_GRPO [B]: a fixed mixture with a number, AdaGRPO with its gate alpha(x) in {0, 1} [B]."""
    return nll + weight * grpo


class GateDecision(NamedTuple):
    """What AdaGRPO's diagnostics say of each row.

    Attributes:
        difficult: D_policy, bool [B]: the ground truth is outside the policy's head.
        discriminative: D_reward, bool [B]: the reward model has it in its head, and all negatives at its bottom.
        policy_rank: rank of the ground truth by the policy, from 1, int64 [B].
        reward_rank: the same by the reward model.
        listed: n, items of the list that ranks refer to, int64 [B].
    """

    difficult: Tensor
    discriminative: Tensor
    policy_rank: Tensor
    reward_rank: Tensor
    listed: Tensor

    @property
    def admitted(self) -> Tensor:
        """alpha(x) = D_policy and D_reward, bool [B]."""
        return self.difficult & self.discriminative

    @property
    def lift(self) -> Tensor:
        """By how many places the reward model ranks the ground truth above the policy, int64 [B]."""
        return self.policy_rank - self.reward_rank


def adaptive_gate(
    policy: Tensor,
    policy_truth: Tensor,
    reward: Tensor,
    reward_truth: Tensor,
    reward_negatives: Tensor,
    *,
    is_truth: Tensor,
    is_item: Tensor,
    tau: float,
    rho: float,
) -> GateDecision:
    """AdaGRPO's alpha(x) = 1[rank_pi(y*) > tau n] 1[rank_RM(y*) <= tau n and all negatives at the bottom].

    The list that ranks refer to is the ground truth and the rollouts that are other items; n is its size. So the ground
    truth is ranked whether or not it was drawn, by its teacher-forced log-probability. A rollout without an item is
    not in the list, because the reward model cannot score it.

    The paper's words on negatives fit only one reading: rank_RM(negative) > (1 - rho) n for each. Each negative is
    ranked against the list alone, so that their number does not change what rho means.

    Ties close the gate: by the reward model the truth ranks below what equals it, negatives above; by the policy the
    truth ranks above. A reward model that scores everything equally is never trusted.

    Args:
        policy: log pi(o_k | x) of rollouts [B, K].
        policy_truth: of the ground truth [B].
        reward: scores of rollouts [B, K].
        reward_truth: [B].
        reward_negatives: of rollouts of other rows, scored for this row [B, M]; without any, none can fail.
        is_truth: which rollouts are the ground truth, bool [B, K].
        is_item: which rollouts are items, bool [B, K].
        tau: share of the list that is its head, in (0, 1).
        rho: share of the list that is its bottom, in (0, 1).
    """
    others = is_item & ~is_truth
    listed = 1 + others.sum(1)
    policy_rank = 1 + (others & (policy > policy_truth[:, None])).sum(1)
    reward_rank = 1 + (others & (reward >= reward_truth[:, None])).sum(1)
    above = (others[:, None] & (reward[:, None] > reward_negatives[..., None])).sum(2)
    negative_rank = 1 + above + (reward_truth[:, None] > reward_negatives)
    suppressed = (negative_rank > (1 - rho) * listed[:, None]).all(1)
    difficult = policy_rank > tau * listed
    return GateDecision(difficult, (reward_rank <= tau * listed) & suppressed, policy_rank, reward_rank, listed)
