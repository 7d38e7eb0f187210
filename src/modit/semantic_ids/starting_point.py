"""What a retriever starts from: the IDs, the tokeniser and the weights of an earlier one, for the items of today."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from modit.core.errors import ConfigError
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.index.quantizer import QUANTIZER_FILE, Quantizer
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder

ITEM_IDS_FILE = "item_ids.npy"
# What must be equal for weights to be taken over; the numbers of items and nodes may differ.
_SIZES = (
    "vocabulary",
    "width",
    "depth",
    "heads",
    "mlp_ratio",
    "session_items",
    "within_trie",
    "node_vectors",
    "content",
    "dense",
)


@dataclass(frozen=True, eq=False)
class StartingPoint:
    """An earlier retriever.

    Attributes:
        item_ids: of its items, unicode [M].
        codes: IDs of its items.
        quantizer: gives new items an ID.
        model: file of its weights.
    """

    item_ids: np.ndarray
    codes: ItemCodes
    quantizer: Quantizer
    model: Path

    @classmethod
    def load(cls, folder: Path) -> StartingPoint | None:
        """Reads the artifact `starting_point`; None where a run starts from nothing.

        Raises:
            ArtifactError: a file is damaged.
        """
        if not (folder / MODEL_FILE).exists():
            return None
        codes, quantizer = ItemCodes.load(folder / CODES_FILE), Quantizer.load(folder / QUANTIZER_FILE)
        return cls(np.load(folder / ITEM_IDS_FILE), codes, quantizer, folder / MODEL_FILE)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.item_ids.tolist())}

    def rows_of(self, item_ids: np.ndarray) -> np.ndarray:
        """Its row of each of these items, int64 [N]; -1 for one that it does not have."""
        return np.array([self._places.get(name, -1) for name in item_ids.tolist()], np.int64)

    def codes_of(self, item_ids: np.ndarray, embeddings: np.ndarray, counts: np.ndarray, ties: np.ndarray) -> ItemCodes:
        """The IDs of today's items: those that they have, and of new items those of its tokeniser.

        Args:
            item_ids: unicode [N], at least one of them known.
            embeddings: float32 [N, D].
            counts: training interactions of today int64 [N].
            ties: order of items with equal counts float64 [N].
        """
        rows = self.rows_of(item_ids)
        known, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        kept = ItemCodes(self.codes.codes[rows[known]], self.codes.sizes, counts[known], ties[known])
        if len(new):
            kept = kept.extended(self.quantizer.assign(np.asarray(embeddings)[new]), ties[new])
        order = np.argsort(np.concatenate([known, new]))
        return ItemCodes(kept.codes[order], kept.sizes, counts.astype(np.int64), ties)

    def continued(self, model: Decoder, codes: ItemCodes, item_ids: np.ndarray) -> Decoder:
        """Puts its weights into a decoder of today's items.

        What is special about a new item, or about a node of the trie that is new, starts at 0: it is then what its
        codes and its embedding say.

        Args:
            model: a new decoder; it is changed.
            codes: of today's items, as `codes_of` made them.
            item_ids: of today's items, unicode [N].

        Raises:
            ConfigError: the decoder has another size; the field is named.
        """
        earlier = load_decoder(self.model, self.codes)
        for name in _SIZES:
            wanted, there = getattr(model.config, name), getattr(earlier.config, name)
            if wanted != there:
                raise ConfigError(
                    f"{name} of the decoder is {wanted}; that of the version that the run starts from is {there}: "
                    "set section train_retriever as that version was trained, or starting_point.origin to nothing"
                )
        weights = earlier.state_dict()
        rows, nodes = self.rows_of(item_ids), codes.trie.places_in(self.codes.trie)
        own = {"items.weight": rows, "items.bias": rows, "output.items.weight": rows, "output.vectors.weight": nodes}
        for name, places in own.items():
            if name in weights:
                weights[name] = _taken(weights[name], torch.from_numpy(places))
        model.load_state_dict(weights)
        if model.items is not None and model.items.embeddings is not None:
            model.items.follow(model.items.embeddings, torch.from_numpy(rows >= 0))
        return model


def _taken(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Rows of values [M, ...] at places int64 [N], -1 for zeros: [N, ...]."""
    return values[places.clamp_min(0)] * (places >= 0).view(-1, *[1] * (values.ndim - 1))
