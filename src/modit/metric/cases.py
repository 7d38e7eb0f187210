"""Evaluation cases: frozen seed sets of one pattern, stratified, the same for every model (specification section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modit.core.arrays import save_arrays
from modit.data.splits import Split
from modit.metric.params import SequenceParams
from modit.metric.patterns import Patterns
from modit.metric.trajectories import order_group, pattern_pool

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


def build_cases(
    patterns: Patterns,
    positive: np.ndarray,
    scored: np.ndarray,
    ranks: np.ndarray,
    split: Split,
    count: int,
    params: SequenceParams,
    generator: np.random.Generator,
) -> tuple[Cases, list[int]]:
    """Draws the cases of one split, the same number for each pattern.

    Args:
        patterns: of the domain.
        positive: bool [N].
        scored: bool [N]; nothing else enters a case.
        ranks: `density_ranks` [N].
        split: which.
        count: how many cases are wanted.
        params: section `build_trajectories`.
        generator: draws the groups.

    Returns:
        The cases, and the patterns skipped because they are too small.
    """
    eligible = patterns.members_of(split) & scored
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
        ranked = order_group(group, ranks, "ascending", generator)
        split_at = round(len(ranked) * seed_share)
        seeds[row, :split_at] = ranked[:split_at]
        tails[row, : len(ranked) - split_at] = ranked[split_at:]
    return Cases(seeds, tails, np.array(order, np.int32)), skipped
