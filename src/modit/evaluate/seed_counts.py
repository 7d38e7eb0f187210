"""Seeds as users have them: Joint@K for 1, 3, 5, 10, ... m seeds in any order, beside average pooling of the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from modit.core.seeds import stream
from modit.data.vectors import mean_of_rows
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.generators import Generator, model_queries
from modit.evaluate.world import World, joint_of
from modit.metric.cases import Cases

COUNTS = (1, 3, 5, 10, 20, 50, 100)


def counts_for(longest: int) -> list[int]:
    """The seed counts to show for cases of up to `longest` seeds, `longest` last."""
    return [count for count in COUNTS if count < longest] + [longest]


def shuffled_seeds(cases: Cases, split: str, seed: int) -> np.ndarray:
    """Each case's seeds in an order that depends on (seed, split, row) alone, int32 [n, m] padded with -1."""
    shuffled = np.full_like(cases.seeds, -1)
    for row, length in enumerate(cases.lengths):
        order = stream(seed, "seed_counts", split, row).permutation(length)
        shuffled[row, :length] = cases.seeds[row, order]
    return shuffled


def in_case_order(cases: Cases, subset: np.ndarray) -> np.ndarray:
    """Subsets of the cases' seeds [n, c], brought back to the ascending order that the cases have."""
    kept = (cases.seeds[:, :, None] == subset[:, None, :]).any(2) & (cases.seeds >= 0)
    ordered = np.full_like(cases.seeds, -1)
    for row, keep in enumerate(kept):
        ordered[row, : keep.sum()] = cases.seeds[row, keep]
    return ordered[:, : subset.shape[1]]


def seed_count_curve(
    world: World, cases: Cases, split: str, policy: Generator, noise_seed: int, resamples: int
) -> list[dict[str, Any]]:
    """Joint@K by the number of seeds given. Subsets are nested; a case with too few seeds gives all it has.

    All seeds of a case stay out of the results at every count, so that the counts are judged on the same items.

    Args:
        world: of the domain.
        cases: of the split.
        split: its name; draws of other splits are independent.
        policy: HPPO.
        noise_seed: of the generator, of the subsets and of the resampling.
        resamples: B.

    Returns:
        For each count: the mean number of seeds, intervals of `hppo_sorted`, `hppo_shuffled` and `average`, the paired
        `difference` of the last two, and `order_difference`, the greatest between a coordinate of the two queries.
    """
    shuffled = shuffled_seeds(cases, split, noise_seed)
    curve = []
    for count in counts_for(int(cases.lengths.max())):
        subset = shuffled[:, :count]
        queries = {
            "hppo_sorted": model_queries(policy, world.catalog.embeddings, in_case_order(cases, subset), noise_seed),
            "hppo_shuffled": model_queries(policy, world.catalog.embeddings, subset, noise_seed),
            "average": mean_of_rows(world.catalog.embeddings, subset),
        }
        joint = {name: joint_of(world, cases, value) for name, value in queries.items()}
        joint["difference"] = joint["hppo_shuffled"] - joint["average"]
        point: dict[str, Any] = {
            name: paired_interval(value, cases.patterns, noise_seed, resamples) for name, value in joint.items()
        }
        point["count"] = count
        point["mean_count"] = float((subset >= 0).sum(1).mean())
        point["order_difference"] = float(np.abs(queries["hppo_sorted"] - queries["hppo_shuffled"]).max())
        curve.append(point)
    return curve
