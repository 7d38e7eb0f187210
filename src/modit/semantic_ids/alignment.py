"""Alignment of a trained retriever in rounds: after each one, validation says whether it is better than all before."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modit.core.errors import InsufficientDataError
from modit.core.seeds import stream
from modit.data.sessions import SessionPart, Sessions
from modit.index.id_retrieval import padded_prompts
from modit.index.item_codes import ItemCodes
from modit.semantic_ids.decoder import Decoder, DecoderConfig
from modit.semantic_ids.params import AlignmentParams
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder, torch_retriever
from modit.training.checkpoint import save_model
from modit.training.distributed import from_first
from modit.training.loop import Stage
from modit.training.session import run_stage

ROUNDS_FILE, CURVE_FILE = "rounds.json", "curve.json"
_CUT = 10


@dataclass(frozen=True)
class ValidationCases:
    """Validation cases that rounds are compared on.

    Attributes:
        histories: items before the target, of each case.
        targets: the item to find, int [n].
        codes: IDs of all items.
        beams: IDs to decode for a case.
    """

    histories: list[np.ndarray]
    targets: np.ndarray
    codes: ItemCodes
    beams: int

    @classmethod
    def drawn(cls, sessions: Sessions, codes: ItemCodes, count: int, beams: int, seed: int) -> ValidationCases:
        """Draws at most `count` cases.

        Raises:
            InsufficientDataError: no session has a validation item with an item before it.
        """
        histories, targets = sessions.histories(SessionPart.VALIDATION), sessions.targets(SessionPart.VALIDATION)
        if not len(targets):
            raise InsufficientDataError("interactions: no session has a validation item; sessions need 3 items")
        chosen = np.sort(stream(seed, "validation cases").permutation(len(targets))[:count])
        return cls([histories[int(case)] for case in chosen], targets[chosen], codes, beams)

    def recall(self, model: Decoder) -> float:
        """Recall@10: share of the cases whose target is among ten items, decoded within the trie."""
        found = torch_retriever(model, self.codes, beams=self.beams).recommend(self.histories, _CUT)
        return float(np.mean([target in answer.rows for target, answer in zip(self.targets, found, strict=True)]))


def align(
    name: str,
    before: Decoder,
    stage_of: Callable[[str, Decoder], Stage[Decoder]],
    params: AlignmentParams,
    cases: ValidationCases,
    seed: int,
    folder: Path,
    scratch: Path,
    logger: logging.Logger,
) -> dict[str, Any]:
    """Trains some rounds, each from the one before, and writes the best model, that before the first round included.

    A model that was pushed too far gets worse again, so that the last round need not be the best (AdaGRPO, section 4).
    A round replaces an earlier model only if its recall is higher.

    Args:
        name: of the step, and of its stage.
        before: the model to align; it is not changed.
        stage_of: data and loss of a round, from its name and the model that it starts from.
        params: steps of a round, their number, and the rate of dropout.
        cases: what rounds are compared on.
        seed: of the step.
        folder: of the output; model.pt, rounds.json and curve.json.
        scratch: local folder that survives a crash; a round that is finished there is not trained again.
        logger: for progress.

    Returns:
        The content of rounds.json: `recall_before`, the `recall` of each of the `rounds`, and the one that is `kept`,
        0 for the model before.
    """
    best, best_recall, kept = before, from_first(cases.recall(before)), 0
    content: dict[str, Any] = {"recall_before": round(best_recall, 6), "rounds": []}
    curve, model = [], with_dropout(before, params.dropout)
    for number in range(1, params.rounds + 1):
        place = scratch / f"round_{number}"
        place.mkdir(parents=True, exist_ok=True)
        stage, path = stage_of(f"{name}_{number}", model), place / MODEL_FILE
        finished = from_first(with_dropout(load_decoder(path, cases.codes), params.dropout) if path.exists() else None)
        model = finished or run_stage(model, stage, params, seed, place, place, logger)
        recall = from_first(cases.recall(model))
        if recall > best_recall:
            best, best_recall, kept = with_dropout(model, before.config.dropout), recall, number
        logger.info("%s: round %d: validation Recall@%d %.4f, best %.4f", name, number, _CUT, recall, best_recall)
        content["rounds"].append({"round": number, "recall": round(recall, 6)})
        curve += [{"round": number, **point} for point in json.loads((place / CURVE_FILE).read_text())]
    content["kept"] = kept
    save_model(folder / MODEL_FILE, best)
    (folder / ROUNDS_FILE).write_text(json.dumps(content, indent=1) + "\n")
    (folder / CURVE_FILE).write_text(json.dumps(curve, indent=1) + "\n")
    return content


def with_dropout(model: Decoder, rate: float) -> Decoder:
    """A copy of a decoder with another rate of dropout, in evaluation mode.

    Alignment is of IDs: what items have of their own is not trained any more.
    """
    copy = Decoder(replace(model.config, dropout=rate), model.trie)
    copy.load_state_dict(model.state_dict())
    if copy.item_vectors is not None:
        copy.item_vectors.requires_grad_(False)
    if copy.items is not None:
        copy.items.requires_grad_(False)
    return copy.eval()


def history_prompts(codes: ItemCodes, histories: Tensor, config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Tokens of histories int64 [B, W], which -1 pads: int64 [B, P], padded at the end, and how many there are [B]."""
    rows = [row[row >= 0] for row in histories.numpy()]
    tokens, lengths = padded_prompts(codes, rows, config.session_items, config.items)
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


def item_tokens(tokens: Tensor, items: Tensor) -> Tensor:
    """Tokens of items [..., S]; all padding where an item is -1.

    Args:
        tokens: of all items int64 [N, S].
        items: rows of the catalogue, int64.
    """
    return torch.where((items >= 0)[..., None], tokens[items.clamp_min(0)], 0)
