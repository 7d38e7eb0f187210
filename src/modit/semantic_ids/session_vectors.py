"""Vectors of items from what sessions have them together, joined to their embeddings before these are quantised.

Embeddings say what an item is like; sessions say what is used with it. IDs from both put items that follow each other
under one prefix, which the decoder then predicts more easily (as LETTER and others do with a trained recommender). An
item without interactions has what its embedding predicts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import solve
from sklearn.decomposition import TruncatedSVD
from threadpoolctl import threadpool_limits

from modit.data.catalog import Sequences
from modit.data.vectors import unit

# Bounds the pairs of a long session: each item is paired with those within so many places.
_WINDOW = 50
# Interactions at which an item's own vector and the predicted one count alike.
_TRUST = 3.0
# Added to the interactions of both items of a pair: what few sessions say counts for less.
_SHRINKAGE = 10.0
_RIDGE = 1.0


class JoinedVectors(NamedTuple):
    """Embeddings joined to vectors from sessions.

    Attributes:
        vectors: of the items float32 [N, D + d].
        projection: float32 [D + d, D]; of a new item, `projection @ embedding` is its joined vector.
    """

    vectors: np.ndarray
    projection: np.ndarray


def joined_vectors(
    embeddings: np.ndarray, training: Sequences, counts: np.ndarray, share: float, width: int
) -> JoinedVectors | None:
    """Joins both kinds of vectors; None where no session has two items.

    Args:
        embeddings: unit vectors [N, D].
        training: training items of each session.
        counts: training interactions of the items int64 [N].
        share: of the squared length that the vectors from sessions have, in [0, 1].
        width: d, most numbers of a vector from sessions.
    """
    embeddings = np.asarray(embeddings, np.float32)
    found = session_vectors(training, len(embeddings), width)
    if found is None:
        return None
    known = np.abs(found).sum(1) > 0
    with threadpool_limits(1):
        gram = embeddings[known].T @ embeddings[known] + _RIDGE * np.eye(embeddings.shape[1], dtype=np.float32)
        predicting = solve(gram, embeddings[known].T @ found[known], assume_a="pos").astype(np.float32)
        trust = (known * counts / (counts + _TRUST))[:, None].astype(np.float32)
        joined = trust * found + (1 - trust) * (embeddings @ predicting)
    own, shared = np.sqrt(1 - share), np.sqrt(share)
    identity = np.eye(embeddings.shape[1], dtype=np.float32)
    return JoinedVectors(
        np.concatenate([own * embeddings, shared * joined], 1, dtype=np.float32),
        np.concatenate([own * identity, shared * predicting.T], dtype=np.float32),
    )


def session_vectors(training: Sequences, items: int, width: int) -> np.ndarray | None:
    """Unit vectors that are near where items have the same neighbours in sessions; 0 for an item that has none.

    They are the leading singular vectors of the matrix of n(i, j) / sqrt((n(i) + s) (n(j) + s)), scaled by the roots of
    its singular values: n counts sessions in which items are within 50 places, s is 10.

    Args:
        training: training items of each session.
        items: N.
        width: d, most numbers of a vector.

    Returns:
        float32 [N, d]; the same sessions give the same bytes. None where no session has two items.
    """
    together = _together(training, items)
    if not together.nnz:
        return None
    used = np.bincount(np.asarray(training.items, np.int64), minlength=items) + _SHRINKAGE
    scale = sparse.diags(1 / np.sqrt(used))
    matrix = (scale @ together @ scale).tocsr()
    with threadpool_limits(1):
        reduced = TruncatedSVD(min(width, items), n_iter=7, random_state=0).fit(matrix)
        found = matrix @ reduced.components_.T / np.sqrt(np.maximum(reduced.singular_values_, 1e-9))
    found[np.asarray(together.sum(1)).ravel() == 0] = 0
    lengths = np.linalg.norm(found, axis=1)
    vectors = np.zeros(found.shape, np.float32)
    vectors[lengths > 0] = unit(found[lengths > 0])
    return vectors


def _together(training: Sequences, items: int) -> sparse.csr_matrix:
    """How often two items are within 50 places of each other in a session, symmetric float32 [N, N], diagonal 0."""
    rows = np.asarray(training.items, np.int64)
    owner = np.repeat(np.arange(len(training)), np.diff(training.offsets))
    found = sparse.csr_matrix((items, items), dtype=np.float32)
    for distance in range(1, min(_WINDOW, len(rows) - 1) + 1):
        same = owner[distance:] == owner[:-distance]
        if not same.any():
            break
        first, second = rows[:-distance][same], rows[distance:][same]
        apart = first != second
        values = np.ones(int(apart.sum()), np.float32)
        found = found + sparse.csr_matrix((values, (first[apart], second[apart])), shape=(items, items))
    return (found + found.T).tocsr()
