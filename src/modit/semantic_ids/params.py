"""Sections of `params.yaml`: how items get semantic IDs, and how the retriever over them is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modit.core.params import AtLeastZero, Positive, Section, Share, Weight
from modit.training.params import LoopParams

AtLeastZeroFloat = Annotated[float, Field(ge=0)]
Method = Literal["rq", "sarq", "acrq", "sa2crq"]


class TokenizerParams(Section):
    """Section `tokenize_items`.

    Attributes:
        method: rq (every ID has all layers), sarq (depth by the crowding of the ID's prefix), acrq (codebooks of the
            popular items, extended for the others), sa2crq (sarq and acrq).
        base: what learns the codebooks: kmeans (residual k-means) or rqvae (RQ-VAE).
        sizes: codewords of each layer, first layer first. Small first layers let many items share a prefix.
        session_share: how much of what is quantised comes from the sessions that items are in together, as a share of
            the squared length; the rest is the embedding. 0 quantises embeddings alone.
        session_width: most numbers of a vector from sessions.
        full_layers: N, layers that every ID has; the stop rule of sarq and sa2crq applies after them.
        items_per_prefix: an ID ends where at most this many items share its prefix; it sets the paper's ratio tau as
            `items_per_prefix` over the items in the path table (the paper: about 10).
        budgets: information budgets B_l, l = 2..L, in nats, instead of `full_layers` and `items_per_prefix`; null for a
            layer that every ID has.
        smoothing: alpha, added to every count of the path table; 0 leaves the counts as they are.
        head_share: share of the training interactions that the popular items ("head") cover.
        new_share: codewords that acrq and sa2crq add to a layer for the other items, over the layer's size.
        collisions: what becomes of items with one ID: share (all are its items, most interactions first) or suffix (a
            last code numbers them, as TIGER does).
        iterations: of k-means.
        latent: width of RQ-VAE's latent vector.
        hidden: width of RQ-VAE's hidden layer.
        steps: optimiser steps of RQ-VAE; acrq and sa2crq make half as many again for the new codewords.
        batch: items in a batch of RQ-VAE.
        learning_rate: of RQ-VAE.
        commitment: beta, weight of RQ-VAE's commitment loss. The paper does not say; 0.25 is VQ-VAE's.
    """

    method: Method = "sa2crq"
    base: Literal["kmeans", "rqvae"] = "kmeans"
    sizes: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=8)] = (64, 128, 256)
    session_share: Weight = 0.7
    session_width: Positive = 64
    full_layers: Positive = 2
    items_per_prefix: Annotated[float, Field(ge=0)] = 4.0
    budgets: tuple[Annotated[float, Field(ge=0)] | None, ...] | None = None
    smoothing: Annotated[float, Field(ge=0)] = 0.0
    head_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    new_share: Weight = 0.25
    collisions: Literal["share", "suffix"] = "share"
    iterations: Positive = 25
    latent: Positive = 32
    hidden: Positive = 128
    steps: AtLeastZero = 1_000
    batch: Positive = 512
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    commitment: Annotated[float, Field(ge=0)] = 0.25

    @property
    def adaptive(self) -> bool:
        """Whether the depth of an ID depends on its prefix."""
        return self.method in ("sarq", "sa2crq")

    @property
    def anchored(self) -> bool:
        """Whether popular items make the codebooks first."""
        return self.method in ("acrq", "sa2crq")

    @model_validator(mode="after")
    def _fits_layers(self) -> TokenizerParams:
        if self.budgets is not None and len(self.budgets) != len(self.sizes) - 1:
            raise ValueError(f"budgets has {len(self.budgets)} values; allowed: {len(self.sizes) - 1}, sizes less one")
        space = 1
        for size in self.sizes:
            space *= 2 * size + 1  # with all that new_share can add
        if space >= 2**62:
            raise ValueError(f"sizes {self.sizes} make too many IDs; allowed: products of about 2^62 / 2^layers")
        if self.collisions == "suffix" and self.adaptive:
            raise ValueError(f"collisions is suffix and method {self.method}; allowed: suffix with rq and acrq only")
        return self


class RetrieverParams(LoopParams):
    """Section `train_retriever`: the decoder over semantic IDs, and its training on sessions.

    Attributes:
        steps: optimiser steps; 0 keeps the weights that it starts from.
        batch: rows of tokens in a global batch; a row holds several sessions.
        row_tokens: tokens of a row; a row is never shorter than one session of `session_items` needs.
        session_items: most items of a session that the decoder reads, the last ones; 20 is customary for TIGER.
        width: of a token.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over the width.
        dropout: on embeddings, attention and MLP outputs.
        softmax: trie (over the tokens that lead on in the trie of IDs, which is all that is left to learn) or
            vocabulary (over all tokens, as TIGER; only then can IDs be decoded that no item has).
        own_vectors: items and, with softmax trie, nodes of the trie have vectors of their own beside those of their
            codes. They take 3 to 5 times width numbers an item; a catalogue of millions may leave them out.
        dense: with own vectors, items are scored by theirs after a prompt too, and what IDs find is ranked by both; off
            ranks by IDs alone.
        dense_items: most items that a dense score is compared with in a step; of more, as many are drawn evenly.
    """

    steps: AtLeastZero = 1_000
    batch: Positive = 16
    row_tokens: Positive = 128
    session_items: Positive = 20
    width: Positive = 128
    depth: Positive = 2
    heads: Positive = 4
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    dropout: Share = 0.1
    softmax: Literal["trie", "vocabulary"] = "trie"
    own_vectors: bool = True
    dense: bool = True
    dense_items: Positive = 16_384

    @model_validator(mode="after")
    def _whole_heads(self) -> RetrieverParams:
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}; allowed: a multiple of 2 * heads, {2 * self.heads}")
        return self


class NeighbourParams(Section):
    """Section `fit_item_neighbours`: item neighbours whose votes are added to what the retriever says.

    The setting with the best NDCG@10 on validation cases is taken.

    Attributes:
        neighbours: most nearest items of each item.
        shrinkages: to choose from; added to the product of the norms, so that pairs which few sessions support count
            for less.
        decays: to choose from; weight of an item of a session over that of the one after it.
        weights: to choose from; of the logarithm of the votes beside the retriever's scores. 0 leaves them out.
    """

    neighbours: Positive = 100
    shrinkages: Annotated[tuple[AtLeastZeroFloat, ...], Field(min_length=1)] = (0.0, 20.0)
    decays: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (1.0, 0.7, 0.4)
    weights: Annotated[tuple[AtLeastZeroFloat, ...], Field(min_length=1)] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


class RewardRankerParams(LoopParams):
    """Section `reward_ranker`: the reward model of AdaGRPO.

    Attributes:
        batch: clicked impressions in a batch.
        exposure: gamma; an item is shown in proportion to popularity^gamma. 0 shows all alike, and at 1 an item of ten
            times the interactions is shown ten times as often.
        passed_over: items that are shown beside each clicked one.
        corrupted: share of the items that have each other's vectors in the ranker that gives rewards, to measure how
            training fares with a worse reward.
        width: of an item's vector.
        hidden: of the hidden layer.
        window: last items of a history that are read.
    """

    batch: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    exposure: Annotated[float, Field(ge=0, le=3)] = 1.0
    passed_over: Positive = 4
    corrupted: Weight = 0.0
    width: Positive = 32
    hidden: Positive = 64
    window: Positive = 20


class AlignmentParams(LoopParams):
    """What both stages of alignment set.

    Attributes:
        steps: optimiser steps of a round.
        rounds: rounds, each from the one before; validation keeps the best, or the model before all. 0 for none.
        dropout: in alignment. Off: the policy that is scored is then the one that answers.
        validation_cases: most validation cases that rounds are compared on.
        beams: IDs to decode for a validation case.
    """

    steps: Positive = 200
    batch: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    rounds: AtLeastZero = 2
    dropout: Share = 0.0
    validation_cases: Positive = 2_000
    beams: Positive = 20


class PreferenceParams(AlignmentParams):
    """Section `align_rad_dpo`.

    Attributes:
        method: rad_dpo, or what it is compared with: sft (the supervised loss alone, for as many steps), dpo, s_dpo,
            simpo.
        beta: of the rewards. RAD-DPO does not give its own; SimPO's is 2 to 2.5.
        gamma: target margin of SimPO.
        sft_weight: lambda, of the supervised loss over all positives, with every method; 0 leaves it out. RAD-DPO does
            not give its own.
        multi_label: MLGC: all positives of a row are preferred; off prefers the next item only.
        detach_prefix: TLGD: no gradient through the tokens that a negative shares with the positive at its start.
        reweight: RDRW: a negative that is like the positive has a lower weight.
        weigh: what a weight scales: the gradient, the reward, or the term of the sum; see
            `modit.semantic_ids.losses.rad_dpo_preference`.
        weight_floor: weight of a negative that is most like the positive.
        quantiles: of similarity, where the weight starts to fall and where it reaches the floor. RAD-DPO does not give
            its own.
        warm_up_pairs: pairs that the quantiles are taken from.
        subtract_log_n: make the margin independent of the number of negatives.
        positives: most next items of the session that are positives.
        negatives: impressions that are drawn for a row.
        exposure: gamma; an item is shown in proportion to popularity^gamma.
        alike: share of the negatives that have the first code of a positive.
        false_negatives: share of the negatives that are items of the session after the positives instead, to measure
            how training fares with wrong labels; less where the session has too few.
    """

    method: Literal["rad_dpo", "sft", "dpo", "s_dpo", "simpo"] = "rad_dpo"
    beta: Annotated[float, Field(gt=0)] = 2.0
    gamma: Annotated[float, Field(ge=0)] = 0.5
    sft_weight: Annotated[float, Field(ge=0)] = 0.5
    multi_label: bool = True
    detach_prefix: bool = True
    reweight: bool = True
    weigh: Literal["gradient", "reward", "term"] = "gradient"
    weight_floor: Weight = 0.5
    quantiles: tuple[Weight, Weight] = (0.5, 0.9)
    warm_up_pairs: Positive = 4_096
    subtract_log_n: bool = False
    positives: Positive = 3
    negatives: Positive = 3
    exposure: Annotated[float, Field(ge=0, le=3)] = 1.0
    alike: Weight = 0.5
    false_negatives: Weight = 0.0

    @model_validator(mode="after")
    def _ascending(self) -> PreferenceParams:
        if self.quantiles[0] > self.quantiles[1]:
            raise ValueError(f"quantiles is {self.quantiles}; allowed: the lower one first")
        return self


class AdaGrpoParams(AlignmentParams):
    """Section `align_adagrpo`; the reward model has a section of its own, `reward_ranker`.

    Attributes:
        gate: where the reward is used: adaptive (AdaGRPO: where the policy finds the row difficult and the reward model
            is discriminative), difficult or discriminative (one diagnostic alone), random (a share of the rows,
            `random_rate`), always (a fixed mixture), never (the likelihood alone, for as many steps).
        weight: of the GRPO loss where it is used; AdaGRPO has none, so 1.
        likelihood: weight of the NLL; 0 leaves GRPO alone.
        random_rate: share of the rows that the random gate admits.
        rollouts: K, IDs decoded for a row, by beam search over all tokens. Some are no item, which costs them reward.
        tau: share of the ranking that is its head.
        rho: share of the ranking that is its bottom.
        other_rows: M, rollouts of other rows that the reward model must put at the bottom.
        clip: eps of the ratio. There is one update for each batch of rollouts, so that the ratio is 1 and nothing is
            clipped; it matters if the policy has dropout.
        ratio: of each token, or of a whole rollout.
        kl_weight: of the distance from the retriever before alignment. AdaGRPO does not say whether it has one; the NLL
            is the anchor here.
        invalid_margin: by how many standard deviations the reward of an ID without an item is below the lowest.
    """

    gate: Literal["adaptive", "difficult", "discriminative", "random", "always", "never"] = "adaptive"
    weight: Annotated[float, Field(ge=0)] = 1.0
    likelihood: Annotated[float, Field(ge=0)] = 1.0
    random_rate: Weight = 0.5
    rollouts: Annotated[int, Field(ge=2)] = 16
    tau: Annotated[float, Field(gt=0, lt=1)] = 0.25
    rho: Annotated[float, Field(gt=0, lt=1)] = 0.5
    other_rows: AtLeastZero = 4
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    ratio: Literal["token", "sequence"] = "token"
    kl_weight: Annotated[float, Field(ge=0)] = 0.0
    invalid_margin: Annotated[float, Field(gt=0)] = 1.0
