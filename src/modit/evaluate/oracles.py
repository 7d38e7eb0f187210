"""Rows that look at the answer: the ceiling of the training target, and of choosing among HPPO's candidates."""

from __future__ import annotations

import numpy as np

from modit.data.vectors import mean_of_rows
from modit.evaluate.generators import Generator, fan_queries
from modit.evaluate.world import CaseScores, World, judge
from modit.metric.cases import Cases

FAN = (1.0, 2.0, 3.0, 6.0)
DEPTHS = (0.2, 0.5, 0.7, 1.0)


def tail_centroids(embeddings: np.ndarray, tails: np.ndarray, depth: float) -> np.ndarray:
    """Unit centroid of the last `depth` of each tail, at least one item [n, d].

    Args:
        embeddings: [N, d].
        tails: int32 [n, t] in ascending predicted density, padded with -1 at the end.
        depth: share of the tail, in (0, 1].
    """
    lengths = (tails >= 0).sum(1)
    counts = np.maximum(1, np.round(depth * lengths)).astype(int)
    place = np.arange(tails.shape[1])
    kept = (place >= (lengths - counts)[:, None]) & (place < lengths[:, None])
    return mean_of_rows(embeddings, np.where(kept, tails, -1))


def best_of_candidates(
    world: World, cases: Cases, policy: Generator, served: np.ndarray, noise_seed: int
) -> CaseScores:
    """For each case, the scores of the candidate with the best Joint@K: 4 of the policy's fan and 4 static (Table 9).

    Equal figures go to the higher Same@K, then to the earlier candidate.

    Args:
        world: of the domain.
        cases: n cases.
        policy: HPPO.
        served: its queries at its own guidance [n, d], not computed again where that is a scale of the fan.
        noise_seed: of the policy's noise.
    """
    embeddings = world.catalog.embeddings
    others = [scale for scale in FAN if scale != policy.guidance]
    fan = fan_queries(policy.sampler, embeddings, cases.seeds, others, noise_seed).transpose(1, 0, 2)
    own = [served] if len(others) < len(FAN) else []
    static = [tail_centroids(embeddings, cases.tails, depth) for depth in DEPTHS]
    scored = [judge(world, cases, queries) for queries in [*own, *fan, *static]]
    # Joint is a multiple of 1/K, so a Same that weighs less than 1/K decides ties only.
    merit = np.stack([scores.joint + scores.same / (2 * world.k) for scores in scored])
    best, case = merit.argmax(0), np.arange(len(cases))
    return CaseScores(*(np.stack(values)[best, case] for values in zip(*scored, strict=True)))
