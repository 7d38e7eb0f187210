"""The candidate pool of a round, and its labels: Joint and Same@K on the real index (specification section 6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from modit.core.memory import at_once
from modit.data.vectors import unit
from modit.hppo.params import HPPOParams
from modit.index.item_index import ItemIndex
from modit.metric.list_metrics import list_metrics

_SHORTEST_AXIS = 1e-3  # the difference of equal vectors is rounding, not a direction


def static_candidates(
    embeddings: np.ndarray, trajectories: np.ndarray, tail: int, depths: tuple[float, ...]
) -> np.ndarray:
    """Centroids of the last k items of ordered sequences [n, L], k in `depths` of the tail -> [n, len(depths), d]."""
    counts = [max(1, round(depth * tail)) for depth in depths]
    return np.stack([unit(embeddings[trajectories[:, -count:]].mean(1)) for count in counts], 1)


class SeedMeans(NamedTuple):
    """What the pool takes from the seeds of each case; unit vectors [n, d].

    Attributes:
        mean: of all seeds.
        best: of the best-scored third.
        whitened: the whitened frame (`modit.model.axes`).
    """

    mean: np.ndarray
    best: np.ndarray
    whitened: np.ndarray


BLENDS = ("mean", "mean + best", "best", "mean + whitened", "whitened", "best + whitened")


def axis_candidates(means: SeedMeans, directions: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Every blend of the seeds' means with every step along every direction: what the readout can write at once.

    Args:
        means: of the seeds.
        directions: unit [a, d].
        steps: lengths of the steps; 0 is added.

    Returns:
        [n, len(BLENDS) (1 + a len(steps)), d]: for each blend no step, then every direction of every length.
    """
    mean, best, whitened = means
    blends = (mean, mean + best, best, mean + whitened, whitened, best + whitened)
    offsets = _steps_along(directions, steps)
    return np.concatenate([unit(unit(blend)[:, None] + offsets) for blend in blends], 1)


def move_candidates(served: np.ndarray, means: SeedMeans, directions: np.ndarray, params: HPPOParams) -> np.ndarray:
    """Moves of the served query: back to the seeds and along the directions.

    Args:
        served: the policy's queries [n, d].
        means: of the seeds.
        directions: unit [a, d].
        params: with pull_steps and move_steps.

    Returns:
        Every combination of a pull (none included) with a step (none included), less the one that moves nothing.
    """
    pulls = [served] + [served + step * toward for step in params.pull_steps for toward in means]
    offsets = _steps_along(directions, params.move_steps)
    return np.concatenate([unit(unit(pulled)[:, None] + offsets) for pulled in pulls], 1)[:, 1:]


def _steps_along(directions: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """No step, then every step along every direction [1 + a len(steps), d]."""
    moved = np.asarray(steps, np.float32)[:, None, None] * directions
    return np.concatenate([np.zeros_like(directions[:1]), moved.reshape(-1, directions.shape[1])])


def rocchio_candidates(queries: np.ndarray, centroid: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Queries [n, d] moved towards the centroid of all training positives [d] -> [n, len(steps), d]."""
    return unit(queries[:, None] + np.asarray(steps, np.float32)[:, None] * centroid)


def local_candidates(
    queries: np.ndarray, axes: np.ndarray, radius: float, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Random moves around queries, for a derivative-free search on the measured metric.

    Args:
        queries: the best candidate so far [n, d].
        axes: directions that matter for each case [n, a, d]; moves are Gaussian in their span.
        radius: typical length of a move.
        count: moves of each case.
        generator: of the draws.

    Returns:
        [n, count, d].
    """
    cases, number, _ = axes.shape
    weights = generator.standard_normal((cases, count, number)).astype(np.float32) / np.sqrt(number)
    lengths = np.linalg.norm(axes, axis=-1, keepdims=True)
    return unit(queries[:, None] + radius * weights @ (axes / np.maximum(lengths, _SHORTEST_AXIS)))


def build_pool(
    static: np.ndarray,
    fan: np.ndarray,
    served: np.ndarray,
    means: SeedMeans,
    directions: np.ndarray,
    centroid: np.ndarray,
    params: HPPOParams,
) -> np.ndarray:
    """The pool of each case; each policy is a switch of the section.

    Args:
        static: [n, s, d].
        fan: the generator's queries at the guidance fan [n, f, d].
        served: its query at the serving scale [n, d].
        means: of the seeds.
        directions: unit [a, d].
        centroid: of all training positives, unit [d].
        params: section `hppo`.

    Returns:
        [n, p, d]; the first is the served query itself.
    """
    parts = [served[:, None]]
    if params.use_static:
        parts.append(static)
    if params.use_policy:
        parts.append(fan)
    if params.use_axes:
        parts.append(axis_candidates(means, directions, params.axis_steps))
    if params.use_moves:
        parts.append(move_candidates(served, means, directions, params))
    if params.rocchio_steps:
        parts.append(rocchio_candidates(served, centroid, params.rocchio_steps))
    return np.concatenate(parts, 1)


class Labels(NamedTuple):
    """Measured metrics of candidates.

    Attributes:
        joint: [n, p].
        same: [n, p].
    """

    joint: np.ndarray
    same: np.ndarray


def label_candidates(
    index: ItemIndex,
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
        seeds: int32 [n, m], padded with -1; never counted as results.
        positive: bool [N].
        case_labels: pattern of every item in each view [V, N].
        views: the view of each case [n].
        patterns: the pattern of each case in its view [n].
        allowed: items that may be seen, bool [N].
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
