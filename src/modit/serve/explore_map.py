"""The map of the page *Explore*: seeds, results and queries in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from modit.inference.retrieval import SearchResult

WIDTH, HEIGHT, _MARGIN = 640, 420, 28  # in pixels
SEEDS = "seeds"


class Point(NamedTuple):
    """A place on the map, in pixels from its upper left corner."""

    x: float
    y: float


@dataclass(frozen=True)
class Map:
    """Where everything lies.

    Attributes:
        places: Points of the items of each list in their order; those of the seeds as `SEEDS`.
        queries: Point of the query of each list.
        cosine: Of the last list's query with that of the first.
        variance: Share of the vectors' variance that the map shows, in [0, 1].
    """

    places: Mapping[str, list[Point]]
    queries: Mapping[str, Point]
    cosine: float
    variance: float


def make_map(seeds: np.ndarray, found: Mapping[str, SearchResult], embeddings: np.ndarray) -> Map:
    """Puts seeds, results and queries onto one map.

    Args:
        seeds: float32 [m, d].
        found: List by name, in order, each with its query.
        embeddings: Of the items [N, d].
    """
    results = {key: np.asarray(embeddings[each.rows], np.float32) for key, each in found.items()}
    queries = [each.query for each in found.values()]
    places, variance = pca_projection(np.concatenate([seeds, *results.values(), np.stack(queries)]))
    left = iter(places)
    by_list = {key: [next(left) for _ in vectors] for key, vectors in {SEEDS: seeds, **results}.items()}
    return Map(by_list, dict(zip(found, left, strict=True)), float(queries[0] @ queries[-1]), variance)


def pca_projection(vectors: np.ndarray) -> tuple[list[Point], float]:
    """Projects vectors onto their first two principal components, with equal units on both axes of the map.

    Args:
        vectors: float [n, d].

    Returns:
        n places, and the share of the vectors' variance that they show, in [0, 1].
    """
    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    # An axis has no sign of its own; this fixes one.
    axes = axes[:2] * np.where(axes[:2].sum(1, keepdims=True) < 0, -1, 1)
    flat = np.zeros((len(vectors), 2))
    flat[:, : len(axes)] = centred @ axes.T
    low, high = flat.min(0), flat.max(0)
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (room / np.maximum(high - low, 1e-9)).min()
    places = (flat - (low + high) / 2) * scale + np.array([WIDTH, HEIGHT]) / 2
    variance = float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-12))
    return [Point(round(float(x), 1), round(HEIGHT - float(y), 1)) for x, y in places], variance
