"""The towers: a bag of n-grams becomes a unit vector, by other weights for queries than for items.

Shape legend: B batch, W n-grams of the longest text, H hidden width, d dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.data.ngrams import PADDING, Side, bags, padded, words_of
from modit.training.checkpoint import load_network

MODEL_FILE = "model.pt"
_TEXTS_AT_ONCE = 1_024


@dataclass(frozen=True)
class TowersConfig:
    """Size of two towers.

    Attributes:
        buckets: numbers that n-grams are hashed to.
        width: of the vector of an n-gram.
        hidden: H.
        dimension: d.
        dropout: on the sum of the n-grams' vectors, in [0, 1).
        siamese: whether both towers are one.
    """

    buckets: int
    width: int = 64
    hidden: int = 128
    dimension: int = 64
    dropout: float = 0.1
    siamese: bool = False


class Tower(nn.Module):
    """One tower."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.ngrams = nn.EmbeddingBag(config.buckets + 1, config.width, mode="sum", padding_idx=PADDING)
        nn.init.normal_(self.ngrams.weight, std=config.width**-0.5)
        with torch.no_grad():
            self.ngrams.weight[PADDING] = 0
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.up, self.down = nn.Linear(config.width, config.hidden), nn.Linear(config.hidden, config.dimension)
        self.skip = nn.Linear(config.width, config.dimension, bias=False)

    def forward(self, ngrams: Tensor) -> Tensor:
        """Unit vectors [B, d] of bags int64 [B, W]."""
        return self.head(self.ngrams(ngrams))

    def head(self, summed: Tensor) -> Tensor:
        """Unit vectors [B, d] of the sums of the n-grams' vectors [B, width]."""
        state = self.dropout(self.norm(summed))
        return F.normalize(self.skip(state) + self.down(F.gelu(self.up(state))), dim=-1)


class TextTowers(nn.Module):
    """Both towers; either reads queries and items alike, which SymmAligner and the consistent index need."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.config = config
        self.towers = nn.ModuleDict({"query": Tower(config)} | ({} if config.siamese else {"item": Tower(config)}))

    def forward(self, ngrams: Tensor, side: Side) -> Tensor:
        """Unit vectors [B, d] of bags int64 [B, W], by the tower of one side."""
        return self.of(side)(ngrams)

    def of(self, side: Side) -> Tower:
        """The tower of one side."""
        return cast("Tower", self.towers["query" if self.config.siamese else side])

    def encode(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts, in evaluation mode.

        Raises:
            ContractError: a text has no letter or digit.
        """
        rows = bags([words_of(text) for text in texts], self.config.buckets)
        parts = [rows[start : start + _TEXTS_AT_ONCE] for start in range(0, len(rows), _TEXTS_AT_ONCE)]
        with torch.inference_mode():
            found = [self(torch.from_numpy(padded(part)), side).numpy() for part in parts]
        return np.concatenate([np.empty((0, self.config.dimension), np.float32), *found])


def load_towers(folder: Path) -> TextTowers:
    """Reads trained towers, in evaluation mode.

    Raises:
        ArtifactError: the file is missing.
    """
    return load_network(folder / MODEL_FILE, lambda config: TextTowers(TowersConfig(**config)))
