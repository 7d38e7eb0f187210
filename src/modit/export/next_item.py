"""The decoder of semantic IDs as two ONNX graphs, and the proof that they decode the same IDs as torch.

One graph reads prompts, the other goes on by one token from their cache. Log-probabilities are in the graphs. They are
two files, because a search calls the second several times; each has the weights that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modit.export.graph import single_graph, write_model
from modit.export.parity import ParityError
from modit.export.translations import translate
from modit.index.beam_search import Beams
from modit.index.id_retrieval import IdRetriever
from modit.inference.answers import IDENTICAL_LISTS_MINIMUM, SCORE_TOLERANCE, TOLERANCE
from modit.inference.next_item_files import (
    CONTENT_FILE,
    DENSE_FILE,
    ENCODE_FILE,
    ITEMS_FILE,
    NODES_FILE,
    STEP_FILE,
    encode_values,
    graph_metadata,
    step_values,
)
from modit.semantic_ids.decoder import Decoder

# Any sizes other than 0 and 1, which torch would take for constants.
_ROWS, _TOKENS, _BEAMS_BEFORE, _BEAMS, _DECODED = 3, 11, 4, 5, 2
_BATCHES = (1, 2, 33)


class _Encode(nn.Module):
    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, prompts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, cache = self.model.encode(prompts, lengths)
        return self.model.logits(states).log_softmax(-1), states, cache


class _Step(nn.Module):
    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, tokens: Tensor, parents: Tensor, lengths: Tensor, prompt: Tensor, decoded: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        states, cache = self.model.step(tokens, parents, lengths, prompt, decoded)
        return self.model.logits(states).log_softmax(-1), states, cache


@torch.no_grad()
def export_decoder(model: Decoder, folder: Path) -> None:
    """Writes two graphs and the vectors of nodes and items; the same weights give the same bytes.

    Args:
        model: On the CPU; it is put into evaluation mode.
        folder: Where to.
    """
    model = model.eval()
    config = model.config
    sizes = config.depth, config.heads, config.width // config.heads, config.vocabulary
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    prompts, lengths = torch.full((_ROWS, _TOKENS), config.vocabulary - 1), torch.tensor([_TOKENS, 5, 2])
    encode = translate(_Encode(model).eval(), (prompts, lengths), ({0: batch, 1: tokens}, {0: batch}))
    _, prompt = model.encode(prompts, lengths)
    decoded = prompt.new_zeros(_ROWS, _BEAMS_BEFORE, *prompt.shape[1:4], _DECODED, prompt.shape[-1])
    last = torch.full((_ROWS, _BEAMS), config.vocabulary - 1)
    before, beams, past = (torch.export.Dim(name) for name in ("before", "beams", "past"))
    of_beams = {0: batch, 1: beams}
    shapes = (of_beams, of_beams, {0: batch}, {0: batch, 4: tokens}, {0: batch, 1: before, 5: past})
    step = translate(_Step(model).eval(), (last, torch.zeros_like(last), lengths, prompt, decoded), shapes)
    for graph, file, values in ((encode, ENCODE_FILE, encode_values), (step, STEP_FILE, step_values)):
        write_model(single_graph(graph, Path(file).stem, *values(*sizes)), graph_metadata(file), folder / file)
    content = None if model.items is None else model.items.content
    for file, vectors, width in (
        (NODES_FILE, model.node_vectors, config.width + 1),
        (ITEMS_FILE, model.item_vectors, config.width + 1),
        (DENSE_FILE, model.dense_vectors, config.width + 1),
        (CONTENT_FILE, content, config.content),
    ):
        np.save(folder / file, np.zeros((0, width), np.float32) if vectors is None else vectors.numpy())


@dataclass(frozen=True)
class SearchParity:
    """One line of the table: the same sessions decoded by torch and by the files, `batch` at once.

    Attributes:
        constrained: Within the trie.
        batch: Sessions at once.
        sessions: In all.
        difference: Greatest absolute difference of the log-probability of an ID that both found.
        identical: Share of sessions with the same IDs in the same order, those of equal log-probability in any.
    """

    constrained: bool
    batch: int
    sessions: int
    difference: float
    identical: float


def search_parity(torch_ids: IdRetriever, file_ids: IdRetriever, sessions: Sequence[np.ndarray]) -> dict[str, Any]:
    """Decodes sessions with both, in batches of several sizes: within the trie and, where trained so, over all tokens.

    Args:
        torch_ids: The decoder of torch.
        file_ids: The exported files.
        sessions: Rows of the catalogue, at least one session.

    Returns:
        The content of `parity.json`; it is returned only when parity holds.

    Raises:
        ParityError: A log-probability differs by more than `TOLERANCE`, or fewer than `IDENTICAL_LISTS_MINIMUM` of the
            sessions have the same IDs.
    """
    table = []
    for constrained in (True, False) if torch_ids.softmax is None else (True,):
        for batch in _BATCHES:
            parts = [sessions[start : start + batch] for start in range(0, len(sessions), batch)]
            pairs = [(_decoded(torch_ids, part, constrained), _decoded(file_ids, part, constrained)) for part in parts]
            row = SearchParity(
                constrained,
                batch,
                len(sessions),
                max(_difference(*pair) for pair in pairs),
                float(np.mean(np.concatenate([_identical(*pair) for pair in pairs]))),
            )
            where = f"batches of {batch}, {'within the trie' if constrained else 'over all tokens'}"
            if not row.difference <= TOLERANCE:
                raise ParityError(f"next_item: {where}: log-probabilities differ by {row.difference}: over {TOLERANCE}")
            if row.identical < IDENTICAL_LISTS_MINIMUM:
                raise ParityError(
                    f"next_item: {where}: {row.identical:.4f} of {row.sessions} sessions have the same IDs; "
                    f"at least {IDENTICAL_LISTS_MINIMUM} must"
                )
            table.append(row)
    return {
        "status": "passed",
        "tolerance": TOLERANCE,
        "identical_lists_minimum": IDENTICAL_LISTS_MINIMUM,
        "greatest_difference": max(row.difference for row in table),
        "beams": file_ids.beams,
        "searches": [asdict(row) for row in table],
    }


def _decoded(ids: IdRetriever, sessions: Sequence[np.ndarray], constrained: bool) -> Beams:
    return replace(ids, constrained=constrained).search(sessions, ids.beams)


def _difference(first: Beams, second: Beams) -> float:
    """Greatest difference over IDs that both found after a prompt."""
    longest = max(first.tokens.shape[2], second.tokens.shape[2])
    tokens = [np.pad(each.tokens, ((0, 0), (0, 0), (0, longest - each.tokens.shape[2]))) for each in (first, second)]
    same = (tokens[0][:, :, None] == tokens[1][:, None]).all(-1)
    same &= first.decoded[:, :, None] & second.decoded[:, None]
    if not same.any():
        return float("inf")
    return float(np.abs(first.log_probabilities[:, :, None] - second.log_probabilities[:, None])[same].max())


def _identical(first: Beams, second: Beams) -> np.ndarray:
    """Bool [B]: the same IDs, those whose log-probabilities are equal but for rounding in any order."""
    longest = max(first.tokens.shape[2], second.tokens.shape[2])
    tokens = [np.pad(each.tokens, ((0, 0), (0, 0), (0, longest - each.tokens.shape[2]))) for each in (first, second)]
    moved = (tokens[0] != tokens[1]).any(-1)
    with np.errstate(invalid="ignore"):
        near = np.abs(first.log_probabilities - second.log_probabilities) <= SCORE_TOLERANCE
    return (~moved | near).all(1)
