"""AdaGRPO (arXiv 2606.08480): likelihood of the next item, and GRPO on a ranker's rewards where these can be trusted.

Rows are steps of training sessions: the history is the prompt, the next item the ground truth. The rollouts of a row
are the IDs that beam search over all tokens finds; their rewards are the scores of
`modit.semantic_ids.reward_ranker`. An ID is scored by the first of its items, the one that is recommended first.

Shape legend: B rows, K rollouts, M rollouts of other rows, S tokens of an ID, N items.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modit.data.catalog import Sequences
from modit.index.beam_search import beam_search
from modit.index.item_codes import PAD, ItemCodes
from modit.semantic_ids.alignment import history_prompts, item_tokens
from modit.semantic_ids.decoder import Decoder, TorchNetwork
from modit.semantic_ids.losses import (
    GateDecision,
    adaptive_gate,
    anchored_loss,
    group_advantages,
    grpo_loss,
    rollout_rewards,
)
from modit.semantic_ids.params import AdaGrpoParams
from modit.semantic_ids.retriever import search_softmax
from modit.semantic_ids.reward_ranker import RewardRanker
from modit.semantic_ids.session_steps import SessionSteps
from modit.training.loop import Batch


class Rollouts(NamedTuple):
    """What a policy decodes for the rows of a batch.

    Attributes:
        tokens: int64 [B, K, S], padded at the end.
        items: the item that each stands for int64 [B, K]; -1 for none.
        log_probabilities: of the whole ID [B, K].
    """

    tokens: Tensor
    items: Tensor
    log_probabilities: Tensor


class RewardAlignment:
    """Data and loss of a round."""

    def __init__(
        self,
        name: str,
        codes: ItemCodes,
        training: Sequences,
        params: AdaGrpoParams,
        ranker: RewardRanker,
        reference: Decoder,
    ) -> None:
        """Finds the steps of all sessions.

        Args:
            name: of the stage.
            codes: IDs of all items.
            training: training items of each session, oldest first.
            params: section `align_adagrpo`.
            ranker: gives the rewards; it is not changed.
            reference: the retriever before alignment, for the KL term.

        Raises:
            InsufficientDataError: no session has two items.
        """
        self.name, self.codes, self.params, self.trie = name, codes, params, codes.trie
        self.steps, self.config = SessionSteps(training), reference.config
        self.tokens = torch.from_numpy(codes.tokens).long()
        self.ranker = copy.deepcopy(ranker).eval().requires_grad_(False)
        self.reference = copy.deepcopy(reference).eval().requires_grad_(False) if params.kl_weight else None
        self.first_items = torch.from_numpy(self.trie.items[self.trie.item_offsets[:-1]]).long()

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Steps of sessions, and the numbers that rollouts of other rows and the random gate are drawn by."""
        steps = torch.randint(len(self.steps), (size,), generator=generator)
        histories = self.steps.histories(steps, self.config.session_items)
        prompts, lengths = history_prompts(self.codes, histories, self.config)
        return {
            "prompts": prompts,
            "lengths": lengths,
            "histories": histories,
            "truth": self.steps.following(steps, 1)[:, 0],
            "others": torch.rand((size, self.params.other_rows, 2), generator=generator),
            "random": torch.rand(size, generator=generator),
        }

    @torch.no_grad()
    def rollouts(self, model: Decoder, batch: Batch) -> Rollouts:
        """Decodes K IDs for each row, most probable first and without dropout.

        A policy over all tokens decodes without the trie, so that it can be told from IDs that no item has.
        """
        training = model.training
        model.eval()
        found = beam_search(
            TorchNetwork(model),
            batch["prompts"].cpu().numpy(),
            batch["lengths"].cpu().numpy(),
            self.trie,
            self.tokens.shape[1],
            self.params.rollouts,
            constrained=model.config.within_trie,
            softmax=search_softmax(model),
        )
        model.train(training)
        identifiers, device = torch.from_numpy(found.identifiers), batch["prompts"].device
        items = torch.where(identifiers >= 0, self.first_items[identifiers.clamp_min(0)], -1)
        scores = torch.from_numpy(found.log_probabilities)
        shorter = self.tokens.shape[1] - found.tokens.shape[2]  # beams stop once all have ended
        tokens = F.pad(torch.from_numpy(found.tokens), (0, shorter), value=PAD)
        return Rollouts(tokens.to(device), items.to(device), scores.to(device))

    @torch.no_grad()
    def decide(self, model: Decoder, batch: Batch, rollouts: Rollouts) -> tuple[GateDecision, Tensor]:
        """Both diagnostics of each row, and the rewards of its rollouts [B, K]."""
        prompts, lengths, truth = batch["prompts"], batch["lengths"], batch["truth"]
        tokens = item_tokens(self.tokens.to(truth.device), truth)[:, None]
        training = model.training
        policy_truth = model.eval().log_probabilities(prompts, lengths, tokens).log_probabilities.sum(-1)[:, 0]
        model.train(training)
        others = self._of_other_rows(rollouts.items, batch["others"], truth)
        scored = torch.cat([rollouts.items, others, truth[:, None]], 1)
        scores = self.ranker.to(truth.device)(batch["histories"], scored)
        count, is_item = rollouts.items.shape[1], rollouts.items >= 0
        decision = adaptive_gate(
            rollouts.log_probabilities,
            policy_truth,
            scores[:, :count],
            scores[:, -1],
            scores[:, count:-1],
            is_truth=(rollouts.tokens == tokens).all(-1),
            is_item=is_item,
            tau=self.params.tau,
            rho=self.params.rho,
        )
        return decision, rollout_rewards(scores[:, :count], is_item, self.params.invalid_margin)

    @staticmethod
    def _of_other_rows(items: Tensor, drawn: Tensor, truth: Tensor) -> Tensor:
        """Items of rollouts of other rows of the micro-batch int64 [B, M]; M is 0 if there is no other row.

        Where a row's rollouts hold no item, its ground truth stands for them.
        """
        rows = len(items)
        if rows == 1:
            return items.new_zeros((1, 0))
        other = (torch.arange(rows, device=items.device)[:, None] + 1 + (drawn[..., 0] * (rows - 1)).long()) % rows
        valid = items >= 0
        order = torch.argsort((~valid).int(), dim=1, stable=True)
        place = (drawn[..., 1] * valid.sum(1)[other]).long()
        chosen = items.gather(1, order)[other, place]
        return torch.where(chosen >= 0, chosen, truth[other])

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """L_NLL + alpha(x) L_GRPO of each row [b]; figures say how many rows are admitted and how rollouts fare."""
        params, prompts, lengths, truth = self.params, batch["prompts"], batch["lengths"], batch["truth"]
        tokens = item_tokens(self.tokens.to(truth.device), truth)[:, None]
        if params.gate == "never":
            scored = model.log_probabilities(prompts, lengths, tokens).log_probabilities
            return -params.likelihood * scored.sum((1, 2)), {}
        rollouts = self.rollouts(model, batch)
        decision, rewards = self.decide(model, batch, rollouts)
        candidates = torch.cat([rollouts.tokens, tokens], 1)
        scored = model.log_probabilities(prompts, lengths, candidates).log_probabilities
        own = scored[:, :-1]
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                before = self.reference.to(truth.device)
                reference = before.log_probabilities(prompts, lengths, rollouts.tokens).log_probabilities
        grpo = grpo_loss(
            own,
            own.detach(),
            rollouts.tokens != PAD,
            group_advantages(rewards),
            clip=params.clip,
            ratio=params.ratio,
            reference=reference,
            kl_weight=params.kl_weight,
        )
        admitted = self._admitted(decision, batch).to(grpo.dtype)
        nll = -scored[:, -1].sum(-1)
        figures = {
            "nll": nll,
            "grpo": grpo,
            "admitted": admitted,
            "difficult": decision.difficult,
            "discriminative": decision.discriminative,
            "lift": decision.lift,
            "hallucinated": (rollouts.items < 0).float().mean(1),
        }
        return anchored_loss(params.likelihood * nll, grpo, params.weight * admitted), figures

    def _admitted(self, decision: GateDecision, batch: Batch) -> Tensor:
        """Alpha of each row, bool [b]."""
        return {
            "adaptive": decision.admitted,
            "difficult": decision.difficult,
            "discriminative": decision.discriminative,
            "random": batch["random"] < self.params.random_rate,
            "always": torch.ones_like(decision.difficult),
        }[self.params.gate]


@torch.no_grad()
def stratified_lift(stage: RewardAlignment, model: Decoder, rows: int, seed: int) -> list[dict[str, float | None]]:
    """How far the reward model moves the ground truth up, by both diagnostics (AdaGRPO, section 2); nothing is trained.

    Both diagnostics read the ranks that the lift is the difference of: where both hold it is positive by construction.
    A ground truth that is no rollout is mostly the last by the policy, so that any other order lifts it.
    What the table adds is how many rows are in each cell, and what the reward does to the rows that are not admitted.

    Args:
        stage: of alignment.
        model: the policy.
        rows: to look at.
        seed: of the draws.

    Returns:
        For each of the four cells: `difficult`, `discriminative`, `share` of the rows, and the mean `lift` in places of
        a list of about K + 1 items; null where there are none.
    """
    generator, parts = torch.Generator().manual_seed(seed), []
    for start in range(0, rows, stage.params.batch):
        batch = stage.batch(generator, min(stage.params.batch, rows - start))
        decision, _ = stage.decide(model, batch, stage.rollouts(model, batch))
        parts.append(torch.stack([decision.difficult, decision.discriminative, decision.lift], 1).numpy())
    found = np.concatenate(parts)
    cells: list[dict[str, float | None]] = []
    for difficult in (True, False):
        for discriminative in (True, False):
            own = (found[:, 0] == difficult) & (found[:, 1] == discriminative)
            lift = round(float(found[own, 2].mean()), 3) if own.any() else None
            share = round(float(own.mean()), 4)
            cells.append({"difficult": difficult, "discriminative": discriminative, "share": share, "lift": lift})
    return cells
