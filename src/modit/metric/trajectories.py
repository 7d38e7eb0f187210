"""Metric-ordered sequences: in-pattern, from low to high predicted density (Algorithm 1, specification section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from modit.core.arrays import save_arrays
from modit.metric.params import SequenceParams
from modit.metric.patterns import PatternViews

Order = Literal["ascending", "descending", "random"]


@dataclass(frozen=True)
class Trajectories:
    """Ordered sequences of one domain.

    Attributes:
        items: int32 [S, L], catalogue rows in order.
        views: int32 [S], the view (clustering) that each sequence's pattern belongs to.
        patterns: int32 [S], the cluster in that view.
    """

    items: np.ndarray
    views: np.ndarray
    patterns: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, items=self.items, views=self.views, patterns=self.patterns)

    @classmethod
    def load(cls, path: Path) -> Trajectories:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def pattern_pool(
    members: np.ndarray, positive: np.ndarray, normal_share: float, generator: np.random.Generator
) -> np.ndarray:
    """Candidates of one pattern: its positives, and normal members so that they make up `normal_share` of the pool.

    Args:
        members: catalogue rows of the pattern that may be used [n].
        positive: the scorer's verdict for every item, bool [N].
        normal_share: in [0, 1).
        generator: draws which normal members join.
    """
    positives, normals = members[positive[members]], members[~positive[members]]
    wanted = min(len(normals), round(len(positives) * normal_share / (1 - normal_share)))
    return np.concatenate([positives, generator.choice(normals, wanted, replace=False)]) if wanted else positives


def order_group(group: np.ndarray, density: np.ndarray, order: Order, generator: np.random.Generator) -> np.ndarray:
    """Sorts a group of rows by predicted density (ties by row), or shuffles it."""
    if order == "random":
        return generator.permutation(group)
    ranked = group[np.lexsort((group, density[group]))]
    return ranked if order == "ascending" else ranked[::-1]


def build_trajectories(
    views: PatternViews,
    positive: np.ndarray,
    trainable: np.ndarray,
    density: np.ndarray,
    params: SequenceParams,
    generator: np.random.Generator,
    order: Order = "ascending",
) -> Trajectories:
    """Algorithm 1 over every cluster of every view.

    Args:
        views: pseudo-patterns over the trainable items.
        positive: bool [N].
        trainable: bool [N]; nothing else enters a sequence.
        density: predicted density [N].
        params: length, normal share, number of sequences.
        generator: draws the groups.
        order: ascending is the method; the others are for ablation.
    """
    pools = []
    for view, labels in enumerate(views.labels):
        for pattern in range(views.sizes[view]):
            pool = pattern_pool(
                np.flatnonzero((labels == pattern) & trainable), positive, params.normal_share, generator
            )
            if len(pool) >= params.length:
                pools.append((view, pattern, pool))
    drawn = _allocate(np.array([len(pool) for _, _, pool in pools]), params.sequences)
    items, origin = [], []
    for (view, pattern, pool), count in zip(pools, drawn, strict=True):
        for _ in range(count):
            group = generator.choice(pool, params.length, replace=False)
            items.append(order_group(group, density, order, generator))
            origin.append((view, pattern))
    shape = np.array(items, np.int32).reshape(-1, params.length), np.array(origin, np.int32).reshape(-1, 2)
    return Trajectories(shape[0], shape[1][:, 0].copy(), shape[1][:, 1].copy())


def _allocate(pool_sizes: np.ndarray, total: int) -> np.ndarray:
    """Splits `total` sequences over pools in proportion to the square root of their size, at least one each."""
    if not len(pool_sizes):
        return np.zeros(0, int)
    share = np.sqrt(pool_sizes) / np.sqrt(pool_sizes).sum()
    return np.maximum(1, np.round(share * total)).astype(int)
