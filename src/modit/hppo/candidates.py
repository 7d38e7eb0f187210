"""The candidate pool of a round, and its labels: Joint and Same@K measured on the real index (specification section 6).

Shape legend: n cases, p candidates of a case, d width of an embedding, m seeds, a directions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from modit.core.memory import at_once
from modit.data.vectors import mean_of_rows, unit
from modit.hppo.params import HPPOParams
from modit.index.searchable import SearchableIndex
from modit.metric.list_metrics import list_metrics
from modit.model.readout import BLENDS

# The seeds' means among the blends: of all seeds, of the best third of them, and whitened.
_MEANS = [BLENDS.index(name) for name in ("mean", "best", "whitened")]


def build_pool(
    static: np.ndarray,
    fan: np.ndarray,
    served: np.ndarray,
    blends: np.ndarray,
    directions: np.ndarray,
    params: HPPOParams,
) -> np.ndarray:
    """Joins the candidates of each case; section `hppo` switches each kind on or off.

    Args:
        static: [n, s, d].
        fan: the policy's queries at the guidance scales of the fan [n, f, d].
        served: its query at the serving scale [n, d].
        blends: of the seeds, unit [n, 6, d] in the order of `BLENDS`.
        directions: unit [a, d].
        params: section `hppo`.

    Returns:
        Unit vectors [n, p, d]; number 0 is the served query itself.
    """
    parts = [served[:, None]]
    if params.use_static:
        parts.append(static)
    if params.use_policy:
        parts.append(fan)
    if params.use_axes:
        parts.append(axis_candidates(blends, directions, params.axis_steps))
    if params.use_moves:
        parts.append(move_candidates(served, blends[:, _MEANS], directions, params))
    return np.concatenate(parts, 1)


def static_candidates(
    embeddings: np.ndarray, trajectories: np.ndarray, tail: int, depths: tuple[float, ...]
) -> np.ndarray:
    """Centroids of the densest items of each trajectory, at several depths.

    Args:
        embeddings: unit [N, d].
        trajectories: catalogue rows [n, L] from low to high predicted density.
        tail: items of the tail.
        depths: shares of the tail, in (0, 1].

    Returns:
        Unit vectors [n, len(depths), d].
    """
    counts = [max(1, round(depth * tail)) for depth in depths]
    return np.stack([mean_of_rows(embeddings, trajectories[:, -count:]) for count in counts], 1)


def axis_candidates(blends: np.ndarray, directions: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Every blend of the seeds' means with every step along every direction: what the readout can write at once.

    Args:
        blends: of the seeds, unit [n, 6, d].
        directions: unit [a, d].
        steps: lengths of the steps; 0 is added.

    Returns:
        [n, len(BLENDS) (1 + a len(steps)), d]: for each blend no step, then every direction of every length.
    """
    offsets = _steps_along(directions, steps)
    return unit(blends[:, :, None] + offsets).reshape(len(blends), -1, blends.shape[-1])


def move_candidates(served: np.ndarray, means: np.ndarray, directions: np.ndarray, params: HPPOParams) -> np.ndarray:
    """Moves the served query back to the seeds and along the directions.

    Args:
        served: the policy's queries [n, d].
        means: of the seeds, unit [n, 3, d].
        directions: unit [a, d].
        params: section `hppo`, with `pull_steps` and `move_steps`.

    Returns:
        Every combination of a pull (none included) with a step (none included), without the one that moves nothing.
    """
    pulls = [served] + [
        served + step * means[:, place] for step in params.pull_steps for place in range(means.shape[1])
    ]
    offsets = _steps_along(directions, params.move_steps)
    return np.concatenate([unit(unit(pulled)[:, None] + offsets) for pulled in pulls], 1)[:, 1:]


def _steps_along(directions: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """No step, then every step along every direction [1 + a len(steps), d]."""
    moved = np.asarray(steps, np.float32)[:, None, None] * directions
    return np.concatenate([np.zeros_like(directions[:1]), moved.reshape(-1, directions.shape[1])])


class Labels(NamedTuple):
    """Measured metrics of candidates.

    Attributes:
        joint: Joint@K [n, p].
        same: Same@K [n, p].
    """

    joint: np.ndarray
    same: np.ndarray


def label_candidates(
    index: SearchableIndex,
    candidates: np.ndarray,
    seeds: np.ndarray,
    positive: np.ndarray,
    case_labels: np.ndarray,
    views: np.ndarray,
    patterns: np.ndarray,
    allowed: np.ndarray,
    k: int,
) -> Labels:
    """Searches every candidate and judges its results.

    Args:
        index: the staged index.
        candidates: unit [n, p, d].
        seeds: int32 [n, m], padded with -1; a seed is never a result.
        positive: bool [N].
        case_labels: pattern of every item in each view [V, N].
        views: the view of each case [n].
        patterns: the pattern of each case in its view [n].
        allowed: items that may be results, bool [N].
        k: results judged.
    """
    cases, pool, dimension = candidates.shape
    joint, same = np.empty((cases, pool)), np.empty((cases, pool))
    block = at_once(cases)
    for start in range(0, cases, block):
        part = np.arange(start, min(start + block, cases))
        queries, exclude = candidates[part].reshape(-1, dimension), np.repeat(seeds[part], pool, 0)
        found = index.search(queries, k, allowed=allowed, exclude=exclude).rows.reshape(len(part), pool, -1)
        for view in np.unique(views[part]):
            rows = views[part] == view
            of_view, wanted = found[rows].reshape(-1, found.shape[-1]), np.repeat(patterns[part][rows], pool)
            metrics = list_metrics(of_view, positive, case_labels[view], wanted)
            joint[part[rows]] = metrics.joint.reshape(-1, pool)
            same[part[rows]] = metrics.same.reshape(-1, pool)
    return Labels(joint, same)
