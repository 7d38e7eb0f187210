"""Patterns: clusters of a domain's positives, and who may learn from which item (specification sections 1, 8, 12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modit.core.arrays import save_arrays
from modit.core.memory import at_once
from modit.data.splits import TEST, TRAIN

ASSIGN_BLOCK = 65_536


@dataclass(frozen=True)
class Patterns:
    """The patterns of one domain.

    Attributes:
        centroids: float32 [C, d].
        labels: int32 [N], the nearest centroid of every item, positive or not (specification trap 8).
        pattern_split: int8 [C], TRAIN, VALIDATION or TEST.
        item_split: int8 [N], the split of the item's own hash.
    """

    centroids: np.ndarray
    labels: np.ndarray
    pattern_split: np.ndarray
    item_split: np.ndarray

    @property
    def role(self) -> np.ndarray:
        """int8 [N]: TEST where the item or its pattern is, else VALIDATION where either is, else TRAIN."""
        return np.maximum(self.item_split, self.pattern_split[self.labels])

    @property
    def trainable(self) -> np.ndarray:
        """Bool [N]: items that stages which update this domain's weights may see."""
        return self.role == TRAIN

    @property
    def visible_for_validation(self) -> np.ndarray:
        """Bool [N]: items that choices on validation cases may see: all but the test items."""
        return self.role != TEST

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(
            path,
            centroids=self.centroids,
            labels=self.labels,
            pattern_split=self.pattern_split,
            item_split=self.item_split,
        )

    @classmethod
    def load(cls, path: Path) -> Patterns:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def assign(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Nearest centroid (Euclidean) of every embedding, int32 [N]."""
    half_norm = 0.5 * (centroids**2).sum(1)
    labels = np.empty(len(embeddings), np.int32)
    rows = at_once(ASSIGN_BLOCK)
    for start in range(0, len(embeddings), rows):
        block = np.asarray(embeddings[start : start + rows])
        labels[start : start + rows] = (block @ centroids.T - half_norm).argmax(1)
    return labels


@dataclass(frozen=True)
class PatternViews:
    """Pseudo-patterns for training: a clustering of the trainable positives at some granularity (docs/adr/0004).

    Attributes:
        labels: int32 [V, N], the cluster of every item in each view.
        sizes: clusters of each view [V].
    """

    labels: np.ndarray
    sizes: np.ndarray

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, labels=self.labels, sizes=self.sizes)

    @classmethod
    def load(cls, path: Path) -> PatternViews:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["labels"], stored["sizes"])


def shared_items(patterns: Sequence[Patterns]) -> np.ndarray:
    """Bool [N]: items that the shared stages may see: no test item of any domain, and no held-out item by hash."""
    item_split = patterns[0].item_split
    return (item_split == TRAIN) & np.all([domain.visible_for_validation for domain in patterns], axis=0)
