"""A trained retriever: from sessions of catalogue rows to ranked items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from modit.core.errors import ArtifactError
from modit.semantic_ids.beam_search import beam_search, ranked_items
from modit.semantic_ids.decoder import Decoder, DecoderConfig
from modit.semantic_ids.item_codes import ItemCodes
from modit.semantic_ids.training import padded_prompts
from modit.train.checkpoint import load_network

CODES_FILE, QUANTIZER_FILE, MODEL_FILE = "item_codes.npz", "quantizer.npz", "model.pt"
_SESSIONS_AT_ONCE = 64


class Recommendation(NamedTuple):
    """What was found for one session.

    Attributes:
        rows: of the catalogue int64 [n], n <= count, best first.
        scores: log-probability of each item float32 [n].
        decoded: IDs that were decoded.
        invalid: of these, how many no item has; the hallucination rate is `invalid / decoded`.
        items: how many items the decoded IDs have in all, before any is excluded or cut off.
    """

    rows: np.ndarray
    scores: np.ndarray
    decoded: int
    invalid: int
    items: int


@dataclass(frozen=True, eq=False)
class SemanticIdRetriever:
    """A decoder, the IDs that it was trained on, and how they are decoded.

    Attributes:
        model: in evaluation mode.
        codes: of all items; new items may have been added (`ItemCodes.extended`).
        constrained: decode within the trie of IDs; else over all tokens.
        beams: IDs to decode for a session.
    """

    model: Decoder
    codes: ItemCodes
    constrained: bool = True
    beams: int = 20

    def recommend(
        self, histories: Sequence[np.ndarray], count: int, excluded: Sequence[np.ndarray] | None = None
    ) -> list[Recommendation]:
        """Ranks items for each session, as likely next items.

        Args:
            histories: rows of the catalogue, oldest first, any number of them; an empty one asks for likely starts.
            count: most items for each session.
            excluded: rows that are no result, of each session; None for none.
        """
        without = [np.zeros(0, np.int64)] * len(histories) if excluded is None else list(excluded)
        order = np.argsort([min(len(items), self.model.config.session_items) for items in histories], kind="stable")
        found: dict[int, Recommendation] = {}
        for start in range(0, len(order), _SESSIONS_AT_ONCE):
            part = order[start : start + _SESSIONS_AT_ONCE].tolist()
            answers = self._recommend([histories[index] for index in part], count, [without[index] for index in part])
            found.update(zip(part, answers, strict=True))
        return [found[index] for index in range(len(histories))]

    def _recommend(self, histories: list[np.ndarray], count: int, excluded: list[np.ndarray]) -> list[Recommendation]:
        device = self.model.bias.device
        prompts, lengths = padded_prompts(self.codes, histories, self.model.config.session_items)
        longest, trie = self.codes.tokens.shape[1], self.codes.trie
        beams = beam_search(
            self.model, prompts.to(device), lengths.to(device), trie, longest, self.beams, self.constrained
        )
        crowd = np.diff(trie.item_offsets)
        items = np.where(beams.identifiers >= 0, crowd[beams.identifiers], 0).sum(1)
        figures = zip(beams.decoded.sum(1), beams.invalid.sum(1), items, strict=True)
        ranked = ranked_items(beams, trie, count, excluded)
        return [
            Recommendation(rows, scores, int(decoded), int(invalid), int(total))
            for (rows, scores), (decoded, invalid, total) in zip(ranked, figures, strict=True)
        ]


def load_retriever(
    retriever: Path, item_codes: Path, *, constrained: bool = True, beams: int = 20
) -> SemanticIdRetriever:
    """Reads a trained retriever.

    Args:
        retriever: folder of the artifact `next_item_retriever`.
        item_codes: folder of the artifact `item_codes`.
        constrained: decode within the trie of IDs; else over all tokens.
        beams: IDs to decode for a session.

    Raises:
        ArtifactError: a file is missing or damaged, or the two do not belong together.
    """
    codes = ItemCodes.load(item_codes / CODES_FILE)
    model = load_decoder(retriever / MODEL_FILE)
    if model.config.vocabulary != codes.vocabulary:
        raise ArtifactError(
            f"{retriever / MODEL_FILE}: {model.config.vocabulary} tokens, and {item_codes / CODES_FILE} has "
            f"{codes.vocabulary}; the retriever was trained on other codes"
        )
    return SemanticIdRetriever(model, codes, constrained, beams)


def load_decoder(path: Path) -> Decoder:
    """Reads a decoder that `modit.train.checkpoint.save_model` wrote; ArtifactError if there is none."""
    return load_network(path, lambda config: Decoder(DecoderConfig(**config)))


def to_device(retriever: SemanticIdRetriever, device: torch.device) -> SemanticIdRetriever:
    """The retriever with its decoder on another device."""
    return SemanticIdRetriever(retriever.model.to(device), retriever.codes, retriever.constrained, retriever.beams)
