"""Item neighbours beside a trained retriever: how near items are, and how much their votes count."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.data.sessions import SessionPart, Sessions
from modit.index.beam_search import Beams
from modit.index.id_retrieval import IdRetriever
from modit.index.item_neighbours import ItemNeighbours
from modit.index.item_similarity import cosine_neighbours, interactions, neighbours_in, with_stand_ins
from modit.semantic_ids.params import NeighbourParams

_CUT = 10
_SESSIONS_AT_ONCE = 64
_NO_ROWS = np.empty(0, np.int64)


def item_neighbours(training: Sequences, ties: np.ndarray, neighbours: int, shrinkage: float) -> ItemNeighbours:
    """The nearest items of each item by the cosine of their sessions; their votes do not count yet.

    Args:
        training: items of each training session.
        ties: a number for each item that orders neighbours of equal similarity, float [N].
        neighbours: most of each item.
        shrinkage: as of `cosine_neighbours`.
    """
    order = np.argsort(ties, kind="stable")
    places = np.argsort(order)
    near = cosine_neighbours(interactions(training, places), neighbours, shrinkage)[places]
    near.indices = order[near.indices]
    return neighbours_in(near, 1.0, 0.0)


def fit_neighbours(
    retriever: IdRetriever,
    sessions: Sessions,
    params: NeighbourParams,
    may_repeat: bool,
    cases: int,
    logger: logging.Logger,
) -> tuple[ItemNeighbours, dict[str, Any]]:
    """Chooses shrinkage, decay and weight by NDCG@10 of validation cases; the weight may be 0.

    Args:
        retriever: without neighbours.
        sessions: of the catalogue.
        params: what to choose from.
        may_repeat: whether items of a session may be results.
        cases: most validation cases, evenly drawn; 0 for all.
        logger: for progress.

    Returns:
        The neighbours, and the `settings` that were tried, each with its `ndcg_at_10`, with the one that is `chosen`.

    Raises:
        InsufficientDataError: no session has a validation item with an item before it.
    """
    histories, targets = sessions.histories(SessionPart.VALIDATION), sessions.targets(SessionPart.VALIDATION)
    if not len(targets):
        raise InsufficientDataError("interactions: no session has a validation item; sessions need 3 items")
    chosen = np.unique(np.linspace(0, len(targets) - 1, min(cases or len(targets), len(targets))).round().astype(int))
    rows = [histories[case].astype(np.int64) for case in chosen.tolist()]
    parts = [rows[start : start + _SESSIONS_AT_ONCE] for start in range(0, len(rows), _SESSIONS_AT_ONCE)]
    beams = [retriever.search(part, retriever.beams) for part in parts]
    logger.info("neighbours: %d validation cases are decoded", len(rows))

    def judged(neighbours: ItemNeighbours) -> float:
        beside = replace(retriever, neighbours=neighbours if neighbours.weight else None)
        return _ndcg(beside, beams, parts, targets[chosen], may_repeat)

    codes = retriever.codes
    tried: list[tuple[float, ItemNeighbours, dict[str, float]]] = []
    for shrinkage in params.shrinkages:
        near = item_neighbours(sessions.training, codes.ties, params.neighbours, shrinkage)
        near = with_stand_ins(near, codes, codes.counts > 0)
        for decay, weight in product(params.decays, params.weights):
            found = replace(near, decay=decay, weight=weight)
            ndcg = judged(found)
            setting = {"shrinkage": shrinkage, "decay": decay, "weight": weight, "ndcg_at_10": round(ndcg, 6)}
            tried.append((ndcg, found, setting))
    _, best, setting = max(tried, key=lambda each: each[0])
    return best, {"chosen": setting, "settings": [each for _, _, each in tried]}


def _ndcg(
    retriever: IdRetriever, beams: list[Beams], parts: list[list[np.ndarray]], targets: np.ndarray, may_repeat: bool
) -> float:
    """Mean NDCG@10 of what beams stand for."""
    gains: list[float] = []
    for found, histories in zip(beams, parts, strict=True):
        excluded = [_NO_ROWS] * len(histories) if may_repeat else histories
        for rows, _ in retriever.ranked(found, histories, _CUT, excluded):
            places = np.flatnonzero(rows == targets[len(gains)])
            gains.append(1 / np.log2(2.0 + places[0]) if len(places) else 0.0)
    return float(np.mean(gains))
