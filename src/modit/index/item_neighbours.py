"""Neighbours of items: what sessions have together, and how they vote on the item after a session.

A network smooths over items, which is what makes it weak on rare ones and on the very items of a session; counting has
neither fault. A product of both is above each.

Shape legend: N items, E pairs of an item and a neighbour.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError
from modit.data.catalog import Sequences
from modit.index.item_codes import ItemCodes

NEIGHBOURS_FILE = "neighbours.npz"
# Most items that stand for one that no session has.
_MOST_STANDING_IN = 20
# A share of the votes that every item has, so that one without votes has a logarithm.
LEAST_SHARE = 1e-4
_ARRAYS = ("offsets", "items", "similarities", "decay", "weight")


class Votes(NamedTuple):
    """How neighbours of a session's items vote.

    Attributes:
        rows: items that have votes, ascending int64 [n].
        shares: of all votes, float64 [n]; they sum to 1.
        weight: of the logarithm of a share beside other scores.
    """

    rows: np.ndarray
    shares: np.ndarray
    weight: float

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Weight * log(share + 1e-4) of any items, float64 [m]."""
        shares = np.zeros(len(rows))
        if len(self.rows):
            places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
            shares = np.where(self.rows[places] == rows, self.shares[places], 0.0)
        return self.weight * np.log(shares + LEAST_SHARE)

    def first(self, count: int, kept: np.ndarray) -> np.ndarray:
        """The items with most votes, int64 [<= count]; `kept` bool [n] says which of `rows` may be among them."""
        rows, shares = self.rows[kept], self.shares[kept]
        return rows[np.argsort(-shares, kind="stable")[:count]]


@dataclass(frozen=True, eq=False)
class ItemNeighbours:
    """The nearest items of each item.

    Attributes:
        offsets: int64 [N + 1]; the neighbours of item i are those from `offsets[i]` to `offsets[i + 1]`.
        items: the neighbours int32 [E].
        similarities: of an item and its neighbour float32 [E], > 0.
        decay: weight of an item of a session over that of the one after it, in (0, 1].
        weight: of the votes beside other scores, >= 0.
    """

    offsets: np.ndarray
    items: np.ndarray
    similarities: np.ndarray
    decay: float
    weight: float

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, decay: float, weight: float) -> ItemNeighbours:
        """The neighbours that a matrix of similarities [N, N] has."""
        offsets, items = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        return cls(offsets, items, matrix.data.astype(np.float32), decay, weight)

    def standing_in(self, codes: ItemCodes, known: np.ndarray) -> ItemNeighbours:
        """The neighbours of these and other items: one that is not known has the mean of those that stand for it.

        Known items of the same ID stand for it, or those of the longest start of its ID that a known item has, at most
        20, most interactions first. So a new item gets votes, and votes for others, before a session has it.

        Args:
            codes: of all items [M], M >= N.
            known: which of them are known, bool [M]; all of them are among the first N.
        """
        if known.all():
            return self
        pad = np.full(len(codes) - len(self), self.offsets[-1])
        arrays = (self.similarities, self.items, np.concatenate([self.offsets, pad]))
        matrix = sparse.csr_matrix(arrays, (len(codes), len(codes)))
        stand_in = _stand_ins(codes, known)
        return ItemNeighbours.of((stand_in @ matrix @ stand_in.T).tocsr(), self.decay, self.weight)

    def votes(self, session: np.ndarray) -> Votes:
        """The votes after a session: sum over its items of decay^age * similarity.

        Args:
            session: rows of the catalogue, oldest first.
        """
        weights = self.decay ** np.arange(len(session) - 1, -1, -1.0)
        starts = self.offsets[session]
        counts = self.offsets[session + 1] - starts
        places = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        rows, where = np.unique(self.items[places], return_inverse=True)
        shares = np.bincount(where, np.repeat(weights, counts) * self.similarities[places], len(rows))
        return Votes(rows.astype(np.int64), shares / (shares.sum() if len(rows) else 1.0), self.weight)

    def save(self, folder: Path) -> None:
        """Writes `neighbours.npz`; the same neighbours give the same bytes."""
        save_arrays(folder / NEIGHBOURS_FILE, **{name: np.asarray(getattr(self, name)) for name in _ARRAYS})

    @classmethod
    def load(cls, path: Path) -> ItemNeighbours:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{path} is missing or damaged: {error}") from error
        offsets, items, similarities = arrays["offsets"], arrays["items"], arrays["similarities"]
        whole = offsets.ndim == 1 and len(offsets) and offsets[0] == 0 and (np.diff(offsets) >= 0).all()
        if not whole or not offsets[-1] == len(items) == len(similarities) or (items >= len(offsets) - 1).any():
            raise ArtifactError(f"{path} is damaged: its offsets, items and similarities do not belong together")
        return cls(offsets, items, similarities, float(arrays["decay"]), float(arrays["weight"]))


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
