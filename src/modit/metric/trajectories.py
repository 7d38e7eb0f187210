"""Metric-ordered sequences: in-pattern, from low to high predicted density (Algorithm 1, specification section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from modit.core.arrays import save_arrays
from modit.data.splits import TRAIN
from modit.metric.params import SequenceParams
from modit.metric.patterns import Patterns, PatternViews

# A sequence with fewer items teaches nothing: it has hardly a prefix.
MINIMUM_ITEMS = 4

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
        members: scored items of the pattern that may be used, catalogue rows [n].
        positive: items that the scorer gives the attribute, bool [N].
        normal_share: in [0, 1).
        generator: draws which normal members join.
    """
    positives, normals = members[positive[members]], members[~positive[members]]
    wanted = min(len(normals), round(len(positives) * normal_share / (1 - normal_share)))
    return np.concatenate([positives, generator.choice(normals, wanted, replace=False)]) if wanted else positives


def density_ranks(density: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
    """The place of each item in the order of predicted density; equal ones are ordered by their ids.

    Args:
        density: predicted density [N].
        item_ids: unique [N].

    Returns:
        int64 [N], each of 0 to N - 1 once.
    """
    order = np.argsort(density, kind="stable")
    equal = np.diff(density[order]) == 0
    tied = np.append(equal, False) | np.append(False, equal)
    rows = order[tied]
    order[tied] = rows[np.lexsort((item_ids[rows], density[rows]))]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def order_group(group: np.ndarray, ranks: np.ndarray, order: Order, generator: np.random.Generator) -> np.ndarray:
    """Sorts a group of rows by `density_ranks`, or shuffles it."""
    if order == "random":
        return generator.permutation(group)
    ranked = group[np.argsort(ranks[group])]
    return ranked if order == "ascending" else ranked[::-1]


def build_trajectories(
    views: PatternViews,
    positive: np.ndarray,
    allowed: np.ndarray,
    ranks: np.ndarray,
    params: SequenceParams,
    generator: np.random.Generator,
    order: Order = "ascending",
) -> Trajectories:
    """Algorithm 1 over every cluster of every view.

    Args:
        views: pseudo-patterns over the trainable items.
        positive: bool [N].
        allowed: scored training items, bool [N]; nothing else enters a sequence.
        ranks: `density_ranks` [N].
        params: length, normal share, number of sequences.
        generator: draws the groups.
        order: ascending is the method; the others are for ablation.
    """
    pools = []
    for view, labels in enumerate(views.labels):
        for pattern in range(views.sizes[view]):
            pool = pattern_pool(np.flatnonzero((labels == pattern) & allowed), positive, params.normal_share, generator)
            if len(pool) >= params.length:
                pools.append((view, pattern, pool))
    drawn = _allocate(np.array([len(pool) for _, _, pool in pools]), params.sequences)
    items, origin = [], []
    for (view, pattern, pool), count in zip(pools, drawn, strict=True):
        for _ in range(count):
            group = generator.choice(pool, params.length, replace=False)
            items.append(order_group(group, ranks, order, generator))
            origin.append((view, pattern))
    shape = np.array(items, np.int32).reshape(-1, params.length), np.array(origin, np.int32).reshape(-1, 2)
    return Trajectories(shape[0], shape[1][:, 0].copy(), shape[1][:, 1].copy())


def pattern_sequences(
    patterns: Sequence[Patterns], allowed: np.ndarray, length: int, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Draws sequences for pretraining where a catalogue has no interactions: items of one training pattern each.

    Args:
        patterns: of every domain.
        allowed: items that the shared stages may see, bool [N].
        length: L, most items of a sequence.
        count: sequences over all domains, about.
        generator: draws the items and their order.

    Returns:
        Catalogue rows int32 [about count, L], padded with -1 at the end. Patterns with fewer than `MINIMUM_ITEMS`
        allowed items give none.
    """
    pools = [
        pool
        for domain in patterns
        for pattern in np.flatnonzero(domain.pattern_split == TRAIN)
        if len(pool := np.flatnonzero(allowed & (domain.labels == pattern))) >= MINIMUM_ITEMS
    ]
    drawn = _allocate(np.array([len(pool) for pool in pools]), count)
    sequences = np.full((int(drawn.sum()), length), -1, np.int32)
    for row, number in enumerate(np.repeat(np.arange(len(pools)), drawn)):
        items = generator.permutation(pools[number])[:length]
        sequences[row, : len(items)] = items
    return sequences


def _allocate(pool_sizes: np.ndarray, total: int) -> np.ndarray:
    """Splits `total` sequences over pools in proportion to the square root of their size, at least one each."""
    if not len(pool_sizes):
        return np.zeros(0, int)
    share = np.sqrt(pool_sizes) / np.sqrt(pool_sizes).sum()
    return np.maximum(1, np.round(share * total)).astype(int)
