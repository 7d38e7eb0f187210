"""Sections of `params.yaml`: the size of the model, its training stages, and how queries are drawn from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modit.core.params import AtLeastZero, Positive, Section, Share, Weight

Sharding = Literal["none", "full", "auto"]


class LoopParams(Section):
    """What every training stage sets for the one loop.

    Attributes:
        steps: optimiser steps.
        batch: sequences in a global batch.
        learning_rate: peak; it falls by a cosine to `final_ratio` times the peak.
        warmup: share of the steps with a linear warm-up.
        final_ratio: last learning rate over the peak.
        weight_decay: of AdamW, on matrices only.
        betas: of AdamW.
        clip: largest gradient norm.
        accumulate: micro-batches in a global batch.
        sharding: of a stage that several processes train: none (each keeps the whole model), full (parameters,
            gradients and optimiser state are cut among them), auto (full where they take over half of a GPU's memory).
        ema: decay of the weight average; 0 for none.
        log_every: steps between log lines.
        checkpoint_every: steps between checkpoints.
    """

    steps: Positive = 1_000
    batch: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Share = 0.02
    final_ratio: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: Annotated[float, Field(gt=0)] = 1.0
    accumulate: Positive = 1
    sharding: Sharding = "auto"
    ema: Share = 0.0
    log_every: Positive = 50
    checkpoint_every: Positive = 500


class OptimizerParams(LoopParams):
    """What the training stages of the DiT set.

    Attributes:
        condition_dropout: share of targets that see BOS alone, for guidance.
        curvature: Jacobi weight of the loss.
        rotate: chance that a sequence is seen under a random rotation of everything, axes included
            (docs/adr/0004).
        draws: (time, noise) draws of each case in a step (stages with one target).
        full_share: share of cases that keep all their seeds; others keep a random subset, as callers do.
    """

    condition_dropout: Share = 0.1
    curvature: Literal["none", "remaining", "travelled"] = "remaining"
    rotate: Weight = 1.0
    draws: Positive = 4
    full_share: Weight = 0.5


class FinetuneParams(OptimizerParams):
    """Section `finetune`.

    Attributes:
        blends: shares of the way from stage 1's weights to stage 2's that are scored on validation cases; the best is
            the model of the domain (docs/adr/0014). Ties go to the first.
    """

    blends: Annotated[tuple[Weight, ...], Field(min_length=1)] = (1.0, 0.75, 0.5, 0.25, 0.0)


class SasrecParams(LoopParams):
    """Section `train_sasrec`: size and training of SASRec, the same for both losses.

    The default is the published small size (H = 64, two blocks). Of larger catalogues, more steps are worth trying.

    Attributes:
        steps: most optimiser steps.
        passes: most passes over the sessions; few sessions need fewer steps.
        width: H, width of an item embedding.
        depth: number of blocks.
        heads: attention heads.
        dropout: on embeddings, attention and MLP outputs.
        window: most items of a session that are read, its last ones.
    """

    steps: Positive = 12_000
    batch: Positive = 128
    weight_decay: Annotated[float, Field(ge=0)] = 0.075
    passes: Positive = 70
    width: Positive = 64
    depth: Positive = 2
    heads: Positive = 2
    dropout: Share = 0.5
    window: Positive = 50


class ModelParams(Section):
    """Section `model`: the size of the DiT.

    Attributes:
        width: H, width of a token.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over H.
        copy_heads: readout heads over the raw seeds; 0 for none.
        linear_head: whether the readout has the paper's linear map too.
        dropout: on attention and MLP outputs.
    """

    width: Positive = 96
    depth: Positive = 3
    heads: Positive = 4
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    copy_heads: AtLeastZero = 4
    linear_head: bool = False
    dropout: Share = 0.0


class SamplerParams(Section):
    """Section `sampler`: how a query is drawn, in validation, evaluation and export alike.

    Attributes:
        steps: Euler steps.
        samples: samples of the flow averaged into one query (docs/adr/0006); 1 is the paper's.
        guidance: scales to choose the serving scale from, on validation cases, for each model (the paper: 3).
    """

    steps: Positive = 4
    samples: Positive = 4
    guidance: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
