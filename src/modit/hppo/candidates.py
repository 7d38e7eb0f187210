"""The hybrid candidate pool: static targets, the policy's guidance fan, classical moves (specification section 6)."""

from __future__ import annotations

import numpy as np

from modit.core.sections import HPPOParams
from modit.metric.vectors import unit


def static_candidates(
    embeddings: np.ndarray, trajectories: np.ndarray, tail: int, depths: tuple[float, ...]
) -> np.ndarray:
    """Centroids of the last k items of ordered sequences [n, L], k in `depths` of the tail -> [n, len(depths), d]."""
    counts = [max(1, round(depth * tail)) for depth in depths]
    return np.stack([unit(embeddings[trajectories[:, -count:]].mean(1)) for count in counts], 1)


def move_candidates(
    served: np.ndarray, mean: np.ndarray, best_seeds: np.ndarray, direction: np.ndarray, params: HPPOParams
) -> np.ndarray:
    """Moves that the model can learn to make: back to all its seeds, to its best seeds, and along predicted density.

    Args:
        served: the policy's queries [n, d].
        mean: unit mean of each case's seeds [n, d].
        best_seeds: unit mean of the best-scored third of them [n, d].
        direction: of the density predictor [d].
        params: with pull_steps and density_steps.

    Returns:
        Every combination of a pull (none included) with a density step (none included), less the one that moves
        nothing.
    """
    pulls = [served] + [served + step * toward for step in params.pull_steps for toward in (mean, best_seeds)]
    steps = np.asarray((0.0, *params.density_steps), np.float32)[:, None] * unit(direction)
    moved = np.concatenate([unit(unit(pulled)[:, None] + steps) for pulled in pulls], 1)
    return moved[:, 1:]


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
    return unit(queries[:, None] + radius * weights @ unit(axes))


def build_pool(
    static: np.ndarray, fan: np.ndarray, served: np.ndarray, moves: np.ndarray, centroid: np.ndarray, params: HPPOParams
) -> np.ndarray:
    """The pool of each case; each policy is a switch of the section.

    Args:
        static: [n, s, d].
        fan: the generator's queries at the guidance fan [n, f, d].
        served: its query at the serving scale [n, d].
        moves: of `move_candidates` [n, v, d].
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
    if params.use_moves:
        parts.append(moves)
    if params.rocchio_steps:
        parts.append(rocchio_candidates(served, centroid, params.rocchio_steps))
    return np.concatenate(parts, 1)
