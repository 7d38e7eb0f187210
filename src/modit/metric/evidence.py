"""Evidence: the known verdicts near a point of the space, and the directions that they give.

Shape legend: n points, c nearest known items, d width of an embedding, N items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modit.data.vectors import mean_of_rows, unit
from modit.index.item_index import ItemIndex

PROBE_POSITIVES, PROBE_NEGATIVES = 100, 200


@dataclass(frozen=True, eq=False)
class KnownVerdicts:
    """The verdicts of a domain that may be used; those of held-out items are not among them.

    Attributes:
        embeddings: Unit [N, d].
        positive: Items with the attribute, bool [N]; read where `known` only.
        known: Items whose verdict is known, bool [N].
        index: Over all items.
    """

    embeddings: np.ndarray
    positive: np.ndarray
    known: np.ndarray
    index: ItemIndex

    @property
    def positives(self) -> np.ndarray:
        """Known positive items, bool [N]."""
        return self.known & self.positive

    @property
    def negatives(self) -> np.ndarray:
        """Known negative items, bool [N]."""
        return self.known & ~self.positive

    def nearest(self, points: np.ndarray, count: int, positive: bool) -> np.ndarray:
        """The nearest known items of one verdict.

        Args:
            points: Unit float32 [n, d].
            count: c, at least 1.
            positive: Which verdict.

        Returns:
            Rows int64 [n, c], nearest first, padded with -1 where fewer are known.
        """
        allowed = self.positives if positive else self.negatives
        found = np.full((len(points), count), -1, np.int64)
        there = min(count, int(allowed.sum()))
        if there:
            found[:, :there] = self.index.search(points, there, allowed=allowed).rows
        return found


def feedback_direction(embeddings: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """The unit mean of the positives minus that of the negatives (Rocchio 1971), [n, d].

    Args:
        embeddings: Unit [N, d].
        positives: Rows [n, c], padded with -1; a line without any gives no direction from this side.
        negatives: The same of the negatives.
    """
    return mean_of_rows(embeddings, positives) - mean_of_rows(embeddings, negatives)


def local_probe(embeddings: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """The unit direction of a ridge regression of the verdict on the known items near each point, [n, d].

    The strength of the ridge is the mean eigenvalue of the items' covariance, as in the whitened frame.

    Args:
        embeddings: Unit [N, d].
        positives: Rows [n, c], padded with -1.
        negatives: The same of the negatives; their number may be another one.
    """
    rows = np.concatenate([positives, negatives], 1)
    mask = rows >= 0
    count = np.maximum(mask.sum(1), 1)[:, None]
    items = np.asarray(embeddings)[np.where(mask, rows, 0)].astype(np.float64)
    items = (items - (items * mask[..., None]).sum(1, keepdims=True) / count[..., None]) * mask[..., None]
    verdicts = np.where(np.arange(rows.shape[1]) < positives.shape[1], 1.0, 0.0) * mask
    verdicts = (verdicts - verdicts.sum(1, keepdims=True) / count) * mask
    covariance = items.transpose(0, 2, 1) @ items
    ridge = np.trace(covariance, axis1=1, axis2=2) / covariance.shape[1]
    covariance += np.maximum(ridge, 1e-9)[:, None, None] * np.eye(covariance.shape[1])
    return unit(np.linalg.solve(covariance, (items * verdicts[..., None]).sum(1)[..., None])[..., 0])
