"""Which items are alike: the cosine of their sessions, and what stands for an item that no session has.

Shape legend: S sessions, N items, M items with those that came later.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from modit.data.catalog import Sequences
from modit.index.item_codes import ItemCodes
from modit.index.item_neighbours import ItemNeighbours

# Most items that stand for one that no session has, and most neighbours that an item has with those.
_MOST_STANDING_IN, _MOST_NEIGHBOURS = 20, 500
# Bounds the memory while the others are left out.
_ITEMS_AT_ONCE = 256


def neighbours_in(matrix: sparse.csr_matrix, decay: float, weight: float) -> ItemNeighbours:
    """The neighbours that a matrix of similarities [N, N] has; other arguments as of `ItemNeighbours`."""
    offsets, items = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return ItemNeighbours(offsets, items, matrix.data.astype(np.float32), decay, weight)


def with_stand_ins(near: ItemNeighbours, codes: ItemCodes, known: np.ndarray) -> ItemNeighbours:
    """The neighbours of these and other items: one that is not known has the mean of those that stand for it.

    Known items of the same ID stand for it, or those of the longest start of its ID that a known item has, at most 20,
    most interactions first. So a new item gets votes, and votes for others, before a session has it. Of each item the
    500 nearest ones are kept: where many items are not known, each is a neighbour of all that its stand-ins are.

    Args:
        near: of the first N items.
        codes: of all items [M], M >= N.
        known: which of them are known, bool [M]; all of them are among the first N.
    """
    if known.all():
        return near
    pad = np.full(len(codes) - len(near), near.offsets[-1])
    arrays = (near.similarities, near.items, np.concatenate([near.offsets, pad]))
    matrix = sparse.csr_matrix(arrays, (len(codes), len(codes)))
    stand_in = _stand_ins(codes, known)
    blocks = [
        _strongest((stand_in[start : start + _ITEMS_AT_ONCE] @ matrix @ stand_in.T).tocsr(), codes.ties)
        for start in range(0, len(codes), _ITEMS_AT_ONCE)
    ]
    return neighbours_in(sparse.vstack(blocks, "csr"), near.decay, near.weight)


def interactions(sessions: Sequences, places: np.ndarray) -> sparse.csr_matrix:
    """Which session has which item, float32 of 0 and 1 [S, N].

    Args:
        sessions: rows of the catalogue.
        places: the column of each item, int64 [N].
    """
    owners = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    shape = (len(sessions), len(places))
    found = sparse.csr_matrix((np.ones(len(owners), np.float32), (owners, places[sessions.items])), shape)
    found.data[:] = 1  # an item that occurs twice counts once
    return found


def cosine_neighbours(matrix: sparse.csr_matrix, neighbours: int, shrinkage: float) -> sparse.csr_matrix:
    """The similarity of each item to its nearest ones, [N, N] (Sarwar et al., WWW 2001).

    Args:
        matrix: as `interactions` returns it.
        neighbours: most nearest items that are kept of each item.
        shrinkage: added to the product of the norms: pairs that few sessions support count for less.
    """
    together = (matrix.T @ matrix).tocsr()
    norms = np.sqrt(together.diagonal())
    together.setdiag(0)
    together.eliminate_zeros()
    owners = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
    together.data = together.data / (norms[owners] * norms[together.indices] + shrinkage)
    order = np.lexsort((together.indices, -together.data, owners))
    kept = order[np.arange(len(order)) - together.indptr[owners[order]] < neighbours]
    shape = together.shape
    return sparse.csr_matrix((together.data[kept].astype(np.float32), (owners[kept], together.indices[kept])), shape)


def _stand_ins(codes: ItemCodes, known: np.ndarray) -> sparse.csr_matrix:
    """Which known items stand for each item, as shares float32 [M, M]: for a known item itself."""
    by_use = np.lexsort((codes.ties, -codes.counts))
    by_use, missing = by_use[known[by_use]], np.flatnonzero(~known)
    chosen = {int(row): np.array([row]) for row in by_use}
    for depth in range(codes.codes.shape[1], 0, -1):
        starts: dict[bytes, list[int]] = {}
        for row in by_use.tolist():
            same = starts.setdefault(codes.codes[row, :depth].tobytes(), [])
            if len(same) < _MOST_STANDING_IN:
                same.append(row)
        for row in missing.tolist():
            found = starts.get(codes.codes[row, :depth].tobytes())
            if row not in chosen and found:
                chosen[row] = np.array(found)
    owners = np.repeat(list(chosen), [len(rows) for rows in chosen.values()])
    rows = np.concatenate(list(chosen.values()))
    shares = np.concatenate([np.full(len(rows), 1 / len(rows), np.float32) for rows in chosen.values()])
    return sparse.csr_matrix((shares, (owners, rows)), (len(codes), len(codes)))


def _strongest(matrix: sparse.csr_matrix, ties: np.ndarray) -> sparse.csr_matrix:
    """The `_MOST_NEIGHBOURS` greatest similarities of each row, of equal ones by `ties` [M]."""
    counts = np.diff(matrix.indptr)
    if counts.max(initial=0) <= _MOST_NEIGHBOURS:
        return matrix
    owners = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((ties[matrix.indices], -matrix.data, owners))
    kept = np.sort(order[np.arange(len(order)) - matrix.indptr[owners] < _MOST_NEIGHBOURS])
    return sparse.csr_matrix((matrix.data[kept], (owners[kept], matrix.indices[kept])), matrix.shape)
