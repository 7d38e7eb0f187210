"""The version of an embedding space: the vectors of a few items, chosen by a hash of their ids.

A digest of all embeddings would differ each night, since items come and go. The items with the smallest hashes are
nearly the same each night. Where two catalogues share some of them, their vectors show whether the encoder is the same.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import with_config

from modit.core.storage import digest_of
from modit.release.documents import STRICT, read_document

NORMALISATION = "unit length"
_SAMPLE = 16
_LEAST_IN_COMMON = 4
_SAME_COSINE = 0.99
# Items of two catalogues that are compared at most.
_COMPARED = 2_000


@with_config(STRICT)
@dataclass(frozen=True)
class Space:
    """A sample of an embedding space of `dimension` d: id -> vector [d] of the items with the smallest hashes."""

    dimension: int
    normalisation: str
    items: dict[str, list[float]]

    @classmethod
    def of(cls, item_ids: np.ndarray, embeddings: np.ndarray) -> Space:
        """The sample of a catalogue: ids, unicode [N], and embeddings, float32 [N, d]."""
        hashed = ((hashlib.sha256(str(name).encode()).digest(), row) for row, name in enumerate(item_ids))
        rows = [row for _, row in heapq.nsmallest(_SAMPLE, hashed)]
        return cls.at([str(item_ids[row]) for row in rows], embeddings[rows])

    @classmethod
    def at(cls, item_ids: Sequence[str], embeddings: np.ndarray) -> Space:
        """The sample of given items: ids [n] and their embeddings, float32 [n, d]."""
        vectors = np.asarray(embeddings, np.float32).tolist()
        return cls(int(embeddings.shape[1]), NORMALISATION, dict(zip(item_ids, vectors, strict=True)))

    @property
    def version(self) -> str:
        """sha256 of the sample."""
        return digest_of(asdict(self))

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self), sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Space:
        """Reads what `save` wrote, strictly."""
        return read_document(path, cls)

    def difference(self, other: Space) -> str | None:
        """Why another space differs from this one, as a sentence; None where they are the same."""
        for name in ("dimension", "normalisation"):
            if getattr(self, name) != getattr(other, name):
                return f"{name} is {getattr(other, name)}, not {getattr(self, name)}"
        common = sorted(self.items.keys() & other.items.keys())
        one, another = (np.array([space.items[name] for name in common]) for space in (self, other))
        return difference_of(one, another)


def difference_of(vectors: np.ndarray, others: np.ndarray) -> str | None:
    """Why two embeddings of the same n items [n, d] are of two spaces, as a sentence; None where most vectors agree.

    An item whose content changed has another vector in the same space, so not all vectors have to agree.
    """
    if len(vectors) < _LEAST_IN_COMMON:
        return f"only {len(vectors)} of the compared items are in both catalogues, {_LEAST_IN_COMMON} are needed"
    median = float(np.median((vectors * others).sum(1)))
    if median >= _SAME_COSINE:
        return None
    return (
        f"{len(vectors)} items of both catalogues have other embeddings: median cosine {median:.3f}, at least "
        f"{_SAME_COSINE} is needed"
    )


def difference_of_catalogues(
    item_ids: np.ndarray, vectors: np.ndarray, other_ids: np.ndarray, other_vectors: np.ndarray
) -> str | None:
    """Why two catalogues are of two spaces, by some of the items that both have; None where they are of one.

    Args:
        item_ids: Of the first, unicode [N].
        vectors: Of its items [N, d].
        other_ids: Of the second, unicode [M].
        other_vectors: Of its items [M, e].
    """
    if vectors.shape[1] != other_vectors.shape[1]:
        return f"embeddings have {vectors.shape[1]} numbers in one and {other_vectors.shape[1]} in the other"
    _, mine, others = np.intersect1d(item_ids, other_ids, return_indices=True)
    some = np.linspace(0, len(mine) - 1, min(_COMPARED, len(mine))).astype(int)
    return difference_of(np.asarray(other_vectors[others[some]]), np.asarray(vectors[mine[some]]))
