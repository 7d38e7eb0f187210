"""Sections of `params.yaml`: how items get semantic IDs, and how the retriever over them is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modit.core.params import AtLeastZero, Positive, Section, Share, Weight
from modit.train.params import LoopParams

Method = Literal["rq", "sarq", "acrq", "sa2crq"]


class TokenizerParams(Section):
    """Section `tokenize_items`.

    Attributes:
        method: rq (every ID has all layers), sarq (depth by the crowding of the ID's prefix), acrq (codebooks of the
            popular items, extended for the others), sa2crq (sarq and acrq).
        base: what learns the codebooks: kmeans (residual k-means) or rqvae (RQ-VAE).
        sizes: codewords of each layer, first layer first. Small first layers let many items share a prefix.
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
        batch: rows of tokens in a global batch; a row holds several sessions.
        row_tokens: tokens of a row; a row is never shorter than one session of `session_items` needs.
        session_items: most items of a session that the decoder reads, the last ones; 20 is customary for TIGER.
        width: of a token.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over the width.
        dropout: on embeddings, attention and MLP outputs.
    """

    batch: Positive = 32
    row_tokens: Positive = 256
    session_items: Positive = 20
    width: Positive = 128
    depth: Positive = 2
    heads: Positive = 4
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    dropout: Share = 0.1

    @model_validator(mode="after")
    def _whole_heads(self) -> RetrieverParams:
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}; allowed: a multiple of 2 * heads, {2 * self.heads}")
        return self


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
