"""Sections of `params.yaml`: the DiT, and how queries are drawn from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modit.core.sections.section import AtLeastZero, Positive, Section, Share


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
