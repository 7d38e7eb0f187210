"""The towers: a text becomes a unit vector, by other weights for queries than for items.

A text is read in two ways. Its hashed n-grams are there for any text of any language. Its known words have vectors in a
frozen text space; a tower starts as that space and learns what to change.

Shape legend: B batch, W n-grams of the longest text, H hidden width, d dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.data.ngrams import PADDING, Side, bags, padded, words_of
from modit.data.text_space import TextSpace, known_vectors
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
        space: whether a frozen text space of d numbers lies below the towers; without one they read n-grams alone.
    """

    buckets: int
    width: int = 64
    hidden: int = 128
    dimension: int = 64
    dropout: float = 0.1
    siamese: bool = False
    space: bool = False


@dataclass(frozen=True, eq=False)
class ReadTexts:
    """Texts as towers read them.

    Attributes:
        ngrams: bags int64 [B, W].
        known: unit vectors in the text space float32 [B, d], zeros where no word is known or there is no space.
    """

    ngrams: Tensor
    known: Tensor


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
        self.space = SpaceHead(config) if config.space else None
        if config.space:  # the start is the space itself
            nn.init.zeros_(self.skip.weight)
            nn.init.zeros_(self.down.weight)
            nn.init.zeros_(self.down.bias)

    def forward(self, texts: ReadTexts) -> Tensor:
        """Unit vectors [B, d]."""
        return self.head(self.ngrams(texts.ngrams), texts.known)

    def head(self, summed: Tensor, known: Tensor | None) -> Tensor:
        """Unit vectors [B, d] of the sums of the n-grams' vectors [B, width] and of vectors in the space [B, d]."""
        state = self.dropout(self.norm(summed))
        found = self.skip(state) + self.down(F.gelu(self.up(state)))
        return F.normalize(found if self.space is None else found + self.space(known), dim=-1)


class SpaceHead(nn.Module):
    """What a tower makes of vectors in the text space: at first themselves."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.straight = nn.Linear(config.dimension, config.dimension, bias=False)
        self.up = nn.Linear(config.dimension, config.hidden)
        self.down = nn.Linear(config.hidden, config.dimension, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.eye_(self.straight.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, known: Tensor) -> Tensor:
        """Vectors [B, d] to [B, d]."""
        return self.straight(known) + self.down(F.gelu(self.up(self.dropout(known))))


class TextTowers(nn.Module):
    """Both towers; either reads queries and items alike, which SymmAligner and the consistent index need."""

    def __init__(self, config: TowersConfig, space: TextSpace | None = None) -> None:
        """Makes fresh towers.

        Args:
            config: their size.
            space: that lies below them, where the config says so; of at most d numbers.
        """
        super().__init__()
        self.config, self.space = config, space
        self.towers = nn.ModuleDict({"query": Tower(config)} | ({} if config.siamese else {"item": Tower(config)}))

    def forward(self, texts: ReadTexts, side: Side) -> Tensor:
        """Unit vectors [B, d], by the tower of one side."""
        return self.of(side)(texts)

    def of(self, side: Side) -> Tower:
        """The tower of one side."""
        return cast("Tower", self.towers["query" if self.config.siamese else side])

    def encode(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts, in evaluation mode.

        Raises:
            ContractError: a text has no letter or digit.
        """
        words = [words_of(text) for text in texts]
        rows, known = bags(words, self.config.buckets), known_vectors(words, self.space, self.config.dimension)
        parts = [slice(start, start + _TEXTS_AT_ONCE) for start in range(0, len(rows), _TEXTS_AT_ONCE)]
        with torch.inference_mode():
            read = (ReadTexts(*map(torch.from_numpy, (padded(rows[part]), known[part]))) for part in parts)
            found = [self(each, side).numpy() for each in read]
        return np.concatenate([np.empty((0, self.config.dimension), np.float32), *found])


def load_towers(folder: Path) -> TextTowers:
    """Reads trained towers, in evaluation mode.

    Args:
        folder: of one kind of towers; the text space lies beside it.

    Raises:
        ArtifactError: a file is missing.
    """

    def made(config: dict[str, Any]) -> TextTowers:
        size = TowersConfig(**config)
        return TextTowers(size, TextSpace.load(folder.parent) if size.space else None)

    return load_network(folder / MODEL_FILE, made)
