"""From decoded IDs to ranked items: P(item) by its ID, dense scores, and the votes of neighbours.

Shape legend: B prompts, N items, H width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modit.index.beam_search import Beams
from modit.index.item_codes import Trie
from modit.index.item_neighbours import Votes

# By their IDs, items of a later place count as if they were at this one, and so do items that no beam found. Far down
# a log-probability says little, and how many beams there are should not change what comes first.
_LAST_PLACE = 20
# Items that neighbours add to those of the beams.
_VOTED = 50


def ranked_items(
    beams: Beams,
    trie: Trie,
    count: int,
    excluded: Sequence[np.ndarray],
    allowed: Sequence[np.ndarray | None] | None = None,
    item_vectors: np.ndarray | None = None,
    dense_vectors: np.ndarray | None = None,
    votes: Sequence[Votes] | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The items of each prompt's IDs, most probable first: P(item) = P(ID) P(item | ID).

    Items of one ID keep their order. Without P(item | ID) a crowded ID would fill a list before the next ID is asked.
    With dense vectors v, items are ranked by log P(item) + state . v(item) + bias(item), the product of two models'
    probabilities up to a constant of the prompt. Votes add the items with most of them, and their own scores.

    Args:
        beams: IDs of B prompts.
        trie: of all IDs.
        count: most items of a prompt.
        excluded: of each prompt, rows of the catalogue that are no result.
        allowed: of each prompt, bool [N], the rows that may be results, or None for all.
        item_vectors: of a network that tells the items of an ID apart (`TrieSoftmax.items`); None for one that gives
            every item its share of the ID's interactions.
        dense_vectors: what scores items after a prompt float32 [N, H + 1], the last number is a bias; None for IDs
            alone.
        votes: of each prompt; None without neighbours.

    Returns:
        Of each prompt: rows of the catalogue int64 [n], and the score of each, float32 [n].
    """
    found = []
    for number, without in enumerate(excluded):
        mask = None if allowed is None else allowed[number]
        rows, scores = _items_of_ids(beams, number, trie, item_vectors)
        kept = _kept(rows, without, mask)
        rows, scores = rows[kept], scores[kept]
        if votes is not None:
            own = votes[number]
            rows, scores = _joined(rows, scores, own.first(_VOTED, _kept(own.rows, without, mask)))
            scores = scores + own.scores(rows)
        if dense_vectors is not None:
            own_vectors = dense_vectors[rows]
            scores = scores + own_vectors[:, :-1] @ beams.prompt_states[number] + own_vectors[:, -1]
        order = np.argsort(-scores, kind="stable")[:count]
        found.append((rows[order], scores[order].astype(np.float32)))
    return found


def _items_of_ids(
    beams: Beams, number: int, trie: Trie, item_vectors: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The items of a prompt's IDs int64 [n], and log P(item) of each."""
    there = beams.identifiers[number] >= 0
    own = beams.identifiers[number][there]
    starts = trie.item_offsets[own]
    crowd = trie.item_offsets[own + 1] - starts
    places = np.arange(crowd.sum()) + np.repeat(starts - (np.cumsum(crowd) - crowd), crowd)
    rows = trie.items[places].astype(np.int64)
    shares = trie.log_shares[places]
    if item_vectors is not None and len(rows):
        states = np.repeat(beams.states[number][there], crowd, 0)
        shares = _log_shares(shares, states, item_vectors[rows], crowd)
    return rows, np.repeat(beams.log_probabilities[number][there], crowd) + shares


def _kept(rows: np.ndarray, without: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Bool [n]: which rows may be results."""
    kept = ~np.isin(rows, without) if len(without) else np.ones(len(rows), bool)
    return kept if mask is None else kept & mask[rows]


def _joined(rows: np.ndarray, scores: np.ndarray, voted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items with log P(item) and others that no beam found, which are as probable as the last place says."""
    place = min(_LAST_PLACE, len(scores))
    least = np.partition(scores, len(scores) - place)[len(scores) - place] if place else 0.0
    more = voted[~np.isin(voted, rows)]
    return np.concatenate([rows, more]), np.concatenate([np.maximum(scores, least), np.full(len(more), least)])


def _log_shares(shares: np.ndarray, states: np.ndarray, vectors: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """The logarithm of P(item | ID, session) float32 [n], items of one ID in a row.

    Args:
        shares: log-shares of the interactions [n].
        states: that the IDs' END was predicted from [n, H].
        vectors: of the items [n, H + 1].
        crowd: items of each ID.
    """
    scores = shares + np.einsum("nh,nh->n", states, vectors[:, :-1]) + vectors[:, -1]
    starts = np.cumsum(crowd) - crowd
    scores = scores - np.repeat(np.maximum.reduceat(scores, starts), crowd)
    return scores - np.repeat(np.log(np.add.reduceat(np.exp(scores), starts)), crowd)
