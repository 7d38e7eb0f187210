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

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError

NEIGHBOURS_FILE = "neighbours.npz"
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
