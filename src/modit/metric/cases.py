"""Evaluation cases: frozen seed sets of one pattern, stratified, the same for every model (specification section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modit.core.arrays import save_arrays
from modit.data.splits import TEST, TRAIN, VALIDATION
from modit.metric.params import SequenceParams
from modit.metric.patterns import Patterns
from modit.metric.trajectories import order_group, pattern_pool

SPLITS = ("item_validation", "pattern_validation", "item_holdout", "pattern_holdout")
_POOL_SHARE = 0.8  # cases of a small pattern take this much of its pool, so that they differ from each other


@dataclass(frozen=True)
class Cases:
    """Cases of one split of one domain. Rows are padded with -1.

    Attributes:
        seeds: int32 [n, m], catalogue rows in ascending predicted density.
        tails: int32 [n, L - m], the held-out high-density part of the same groups.
        patterns: int32 [n].
    """

    seeds: np.ndarray
    tails: np.ndarray
    patterns: np.ndarray

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def lengths(self) -> np.ndarray:
        """Number of seeds of each case [n]."""
        return (self.seeds >= 0).sum(1)

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, seeds=self.seeds, tails=self.tails, patterns=self.patterns)

    @classmethod
    def load(cls, path: Path) -> Cases:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def eligible_items(patterns: Patterns, split: str) -> np.ndarray:
    """Which items may stand in a case of the split, bool [N].

    Item hold-outs are unseen items of seen patterns; pattern hold-outs are items of unseen patterns. Validation cases
    never hold a test item.
    """
    pattern_role = patterns.pattern_split[patterns.labels]
    return {
        "item_validation": (patterns.item_split == VALIDATION) & (pattern_role == TRAIN),
        "pattern_validation": (patterns.item_split != TEST) & (pattern_role == VALIDATION),
        "item_holdout": (patterns.item_split == TEST) & (pattern_role == TRAIN),
        "pattern_holdout": pattern_role == TEST,
    }[split]


def build_cases(
    patterns: Patterns,
    positive: np.ndarray,
    density: np.ndarray,
    split: str,
    count: int,
    params: SequenceParams,
    generator: np.random.Generator,
) -> tuple[Cases, list[int]]:
    """Draws the cases of one split, the same number for each pattern.

    Args:
        patterns: of the domain.
        positive: bool [N].
        density: predicted density [N].
        split: one of `SPLITS`.
        count: how many cases are wanted.
        params: section `build_trajectories`.
        generator: draws the groups.

    Returns:
        The cases, and the patterns skipped because they are too small.
    """
    eligible = eligible_items(patterns, split)
    present = np.unique(patterns.labels[eligible])
    pools = {
        int(p): pattern_pool(
            np.flatnonzero(eligible & (patterns.labels == p)), positive, params.normal_share, generator
        )
        for p in present
    }
    seed_share = params.seeds / params.length
    lengths = {p: min(params.length, int(_POOL_SHARE * len(pool))) for p, pool in pools.items()}
    skipped = [p for p, length in lengths.items() if round(length * seed_share) < params.minimum_case_seeds]
    usable = [p for p in pools if p not in skipped]
    order = [usable[i % len(usable)] for i in range(count)] if usable else []
    seeds = np.full((len(order), params.seeds), -1, np.int32)
    tails = np.full((len(order), params.length - params.seeds), -1, np.int32)
    for row, pattern in enumerate(order):
        group = generator.choice(pools[pattern], lengths[pattern], replace=False)
        ranked = order_group(group, density, "ascending", generator)
        split_at = round(len(ranked) * seed_share)
        seeds[row, :split_at] = ranked[:split_at]
        tails[row, : len(ranked) - split_at] = ranked[split_at:]
    return Cases(seeds, tails, np.array(order, np.int32)), skipped
