"""Preference alignment of the retriever: RAD-DPO (arXiv 2602.23964), and DPO, S-DPO, SimPO and more SFT beside it.

The paper's preferences are the clicks and the passed-over impressions of a search page. Public sessions have no
impressions, so they are drawn as in `modit.semantic_ids.reward_ranker`: the prompt is the history up to a place in a
training session, the positives are the next few items of the session, and the negatives are items that a site which
shows items in proportion to popularity^gamma would have shown, and that are not in the session. A share of them has the
first code of a positive, as the items of one page of results are alike: without such negatives no prefix is shared.

All candidates are scored in one pass after their prompt (label packing; `Decoder.log_probabilities`).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from modit.core.seeds import derived_seed
from modit.data.catalog import Sequences
from modit.index.item_codes import PAD, ItemCodes
from modit.semantic_ids.alignment import history_prompts, item_tokens
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.losses import (
    Candidates,
    dpo_loss,
    rad_dpo_preference,
    s_dpo_loss,
    sft_loss,
    similarities,
    similarity_weights,
    simpo_loss,
)
from modit.semantic_ids.params import PreferenceParams
from modit.semantic_ids.reward_ranker import exposures
from modit.semantic_ids.session_steps import SessionSteps, draw
from modit.training.loop import Batch


class PreferenceAlignment:
    """Data and loss of a round. Positives come first among the candidates, the next item before all."""

    def __init__(
        self,
        name: str,
        codes: ItemCodes,
        training: Sequences,
        counts: np.ndarray,
        params: PreferenceParams,
        start: Decoder,
        reference: Decoder,
        seed: int,
    ) -> None:
        """Finds the steps of all sessions, and the quantiles of similarity that weights refer to.

        Args:
            name: of the stage.
            codes: IDs of all items.
            training: training items of each session, oldest first.
            counts: training interactions of each item [N].
            params: section `align_rad_dpo`.
            start: the model that the round starts from.
            reference: the retriever before alignment, for DPO and S-DPO.
            seed: of the pairs that quantiles are taken from.

        Raises:
            InsufficientDataError: no session has two items.
        """
        self.name, self.codes, self.params = name, codes, params
        self.steps, self.config = SessionSteps(training), start.config
        self.tokens = torch.from_numpy(codes.tokens).long()
        exposure = torch.from_numpy(exposures(counts, params.exposure))
        first = torch.from_numpy(codes.codes[:, 0]).long()
        # Items of one first code are neighbours in this order, so that one running sum serves all draws.
        self.order = torch.argsort(first, stable=True)
        self.shown = exposure[self.order].cumsum(0)
        ends = torch.bincount(first, minlength=codes.sizes[0]).cumsum(0)
        sums = torch.cat([torch.zeros(1, dtype=self.shown.dtype), self.shown])
        self.group_end, self.group_start = sums[ends][first], sums[torch.cat([ends.new_zeros(1), ends[:-1]])][first]
        self.reference = copy.deepcopy(reference).eval().requires_grad_(False)
        self.needs_reference = params.method in ("dpo", "s_dpo")
        self.weighted = params.method == "rad_dpo" and params.reweight
        self.low, self.high = self._quantiles(start, seed) if self.weighted else (0.0, 0.0)

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Steps of sessions with their positives and drawn negatives."""
        steps = torch.randint(len(self.steps), (size,), generator=generator)
        prompts, lengths = history_prompts(
            self.codes, self.steps.histories(steps, self.config.session_items), self.config
        )
        positives = self.steps.following(steps, self.params.positives)
        negatives = self._negatives(positives, generator)
        passed_over = (negatives[:, :, None] != self.steps.sessions(steps)[:, None]).all(2)
        later = self.steps.following(steps, self.params.positives + self.params.negatives)[:, self.params.positives :]
        injected = (torch.rand(later.shape, generator=generator) < self.params.false_negatives) & (later >= 0)
        negatives = torch.where(injected, later, torch.where(passed_over, negatives, -1))
        candidates = torch.cat([positives, negatives], 1)
        there, places = candidates >= 0, torch.arange(candidates.shape[1])
        return {
            "prompts": prompts,
            "lengths": lengths,
            "candidates": item_tokens(self.tokens, candidates),
            "positive": there & (places < positives.shape[1]),
            "negative": there & (places >= positives.shape[1]),
            "injected": injected,
        }

    def _negatives(self, positives: Tensor, generator: torch.Generator) -> Tensor:
        """Items drawn by exposure, from all or from those with the first code of a positive, int64 [B, M]."""
        shape = (len(positives), self.params.negatives)
        number = torch.rand(shape, generator=generator) * (positives >= 0).sum(1, keepdim=True)
        one = positives.gather(1, number.long())
        start, end = self.group_start[one], self.group_end[one]
        uniform = start + torch.rand(shape, generator=generator, dtype=torch.float64) * (end - start)
        within = torch.searchsorted(self.shown, uniform, right=True).clamp_max(len(self.order) - 1)
        alike = torch.rand(shape, generator=generator) < self.params.alike
        return self.order[torch.where(alike, within, draw(self.shown, shape, generator))]

    def candidates(self, model: Decoder, batch: Batch) -> Candidates:
        """Scores the candidates of a batch."""
        scored = model.log_probabilities(batch["prompts"], batch["lengths"], batch["candidates"])
        tokens = batch["candidates"]
        return Candidates(
            scored.log_probabilities, tokens, tokens != PAD, batch["positive"], batch["negative"], scored.states
        )

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """L_pref + lambda L_SFT of each row [b], with mean log-probabilities of the candidates as figures."""
        scored, params = self.candidates(model, batch), self.params
        sft = sft_loss(scored)
        if params.method == "sft":
            return sft, _figures(scored)
        preference = self._preference(scored, batch)
        return preference + params.sft_weight * sft, {"preference": preference, **_figures(scored)}

    def _preference(self, scored: Candidates, batch: Batch) -> Tensor:
        params = self.params
        chosen = scored if params.multi_label else scored.first_positive()
        if self.needs_reference:
            with torch.no_grad():
                reference = self.candidates(self.reference.to(scored.tokens.device), batch).totals
            return (dpo_loss if params.method == "dpo" else s_dpo_loss)(chosen, reference, params.beta)
        if params.method == "simpo":
            return simpo_loss(chosen, params.beta, params.gamma)
        weights = None
        if self.weighted:
            weights = similarity_weights(similarities(scored), self.low, self.high, params.weight_floor)
        return rad_dpo_preference(
            chosen,
            params.beta,
            detach_prefix=params.detach_prefix,
            weights=weights,
            weigh=params.weigh,
            subtract_log_n=params.subtract_log_n,
        )

    @torch.no_grad()
    def _quantiles(self, model: Decoder, seed: int) -> tuple[float, float]:
        """Quantiles of the similarity of positives and negatives under the model that the round starts from.

        The paper takes them from 4,096 pairs in a warm-up and moves them afterwards. Here they move from round to
        round: within one they are fixed, so that a resumed round sees the same weights.
        """
        generator = torch.Generator().manual_seed(derived_seed(seed, self.name, "similarities"))
        found, count = [torch.zeros(0)], 0
        while count < self.params.warm_up_pairs:
            scored = self.candidates(model, self.batch(generator, self.params.batch))
            found.append(similarities(scored)[scored.pairs()])
            count += max(self.params.batch, len(found[-1]))  # a batch may have no pair
        known = torch.cat(found)
        if not len(known):
            return 0.0, 0.0
        low, high = torch.quantile(known.double(), torch.tensor(self.params.quantiles, dtype=torch.float64)).tolist()
        return low, high


def _figures(scored: Candidates) -> dict[str, Tensor]:
    """Mean log-probabilities of each row: of the next item, of the positives after it, and of the negatives."""
    totals = scored.totals.detach()
    first = scored.positive & (scored.positive.cumsum(1) == 1)
    parts = {"next_item": first, "later_positives": scored.positive & ~first, "negatives": scored.negative}
    return {name: torch.where(own, totals, 0.0).sum(1) / own.sum(1).clamp_min(1) for name, own in parts.items()}
