"""The hybrid candidate pool: static targets, the policy's guidance fan, and classical moves (specification section 6)."""

from __future__ import annotations

import numpy as np

from modit.core.sections import HPPOParams
from modit.metric.vectors import unit


def static_candidates(embeddings: np.ndarray, trajectories: np.ndarray, tail: int, depths: tuple[float, ...]) -> np.ndarray:
    """Centroids of the last k items of each ordered sequence [n, L], k in `depths` of the tail -> [n, len(depths), d]."""
    counts = [max(1, round(depth * tail)) for depth in depths]
    return np.stack([unit(embeddings[trajectories[:, -count:]].mean(1)) for count in counts], 1)


def density_candidates(queries: np.ndarray, direction: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Queries [n, d] moved along the density predictor's unit direction by each of `steps` -> [n, len(steps), d]."""
    return unit(queries[:, None] + np.asarray(steps, np.float32)[:, None] * unit(direction))


def rocchio_candidates(queries: np.ndarray, centroid: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Queries [n, d] moved towards the centroid of all training positives [d] -> [n, len(steps), d]."""
    return unit(queries[:, None] + np.asarray(steps, np.float32)[:, None] * centroid)


def local_candidates(
    queries: np.ndarray, axes: np.ndarray, radius: float, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Random moves around queries, for a derivative-free search on the measured metric.

    Args:
        queries: the best candidate so far [n, d].
        axes: directions that matter for each case [n, a, d]; moves are Gaussian in their span plus a little in all of R^d.
        radius: typical length of a move.
        count: moves of each case.
        generator: of the draws.

    Returns:
        [n, count, d].
    """
    cases, number, dimension = axes.shape
    weights = generator.standard_normal((cases, count, number)).astype(np.float32) / np.sqrt(number)
    isotropic = generator.standard_normal((cases, count, dimension)).astype(np.float32) / np.sqrt(dimension)
    return unit(queries[:, None] + radius * (weights @ unit(axes) + 0.3 * isotropic))


def build_pool(
    static: np.ndarray, fan: np.ndarray, serving: np.ndarray, direction: np.ndarray, centroid: np.ndarray, params: HPPOParams
) -> np.ndarray:
    """The pool of each case; each policy is a switch of the section.

    Args:
        static: [n, s, d].
        fan: the generator's queries at the guidance fan [n, f, d].
        serving: its query at the serving scale [n, d], from which the classical moves start.
        direction: of the density predictor [d].
        centroid: of all training positives, unit [d].
        params: section `hppo`.

    Returns:
        [n, p, d].
    """
    parts = []
    if params.use_static:
        parts.append(static)
    if params.use_policy:
        parts.append(fan)
    if params.density_steps:
        parts.append(density_candidates(serving, direction, params.density_steps))
    if params.rocchio_steps:
        parts.append(rocchio_candidates(serving, centroid, params.rocchio_steps))
    return np.concatenate(parts, 1)
