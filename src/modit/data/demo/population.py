"""Draws the items of a demo world, one chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modit.data.demo.geometry import Geometry, logistic
from modit.data.demo.parameters import POPULARITY_DOMAIN, DemoParameters

# Part of the world's definition: another chunk size is another world.
CHUNK_ITEMS = 20_000
ITEM_STREAM = 1
_POPULARITY_SIGMA = 1.4
_POPULARITY_FROM_SCORE = 0.75


@dataclass(frozen=True)
class ItemChunk:
    """Some items of the world; n rows.

    Attributes:
        first: number of the first item.
        patterns: int32 [n].
        embeddings: float32 [n, d], unit length.
        attributes: bool [domains, n].
        popularity: float32 [n], positive, log-normal: how often an item is met inside its pattern.
    """

    first: int
    patterns: np.ndarray
    embeddings: np.ndarray
    attributes: np.ndarray
    popularity: np.ndarray


def draw_items(parameters: DemoParameters, geometry: Geometry, chunk: int) -> ItemChunk:
    """Draws chunk number `chunk` of the items; depends on the parameters and the chunk's number only."""
    rng = parameters.generator(ITEM_STREAM, chunk)
    first = chunk * CHUNK_ITEMS
    rows = min(CHUNK_ITEMS, parameters.items - first)
    # the last cumulative share may be below 1 by a rounding error
    drawn = np.searchsorted(geometry.size_cdf, rng.random(rows), side="right")
    patterns = np.minimum(drawn, parameters.patterns - 1).astype(np.int32)
    offsets = rng.standard_normal((rows, parameters.dimension), dtype=np.float32)
    offsets *= np.float32(parameters.ordinary_spread / np.sqrt(parameters.dimension))
    along = np.float32(parameters.attribute_spread) * rng.standard_normal((parameters.domains, rows), dtype=np.float32)
    for domain in range(parameters.domains):
        offsets += along[domain][:, None] * geometry.directions[domain, patterns]
    scores = np.stack([_score(parameters, geometry, d, patterns, offsets, rng) for d in range(parameters.domains)])
    embeddings = geometry.centres[patterns] + offsets
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    probability = logistic(parameters.scorer_steepness * (scores - geometry.thresholds[:, patterns]))
    attributes = rng.random(scores.shape) < probability
    return ItemChunk(first, patterns, embeddings, attributes, _popularity(parameters, scores, rng))


def chunk_count(parameters: DemoParameters) -> int:
    """Number of chunks that hold all items."""
    return -(-parameters.items // CHUNK_ITEMS)


def _score(
    parameters: DemoParameters,
    geometry: Geometry,
    domain: int,
    patterns: np.ndarray,
    offsets: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    projection = np.einsum("nd,nd->n", offsets, geometry.directions[domain, patterns])
    noise = rng.standard_normal(len(patterns), dtype=np.float32)
    return projection / geometry.projection_std[domain, patterns] + np.float32(parameters.scorer_noise) * noise


def _popularity(parameters: DemoParameters, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    taste = rng.standard_normal(scores.shape[1], dtype=np.float32)
    if POPULARITY_DOMAIN in parameters.domain_names:
        score = scores[parameters.domain_names.index(POPULARITY_DOMAIN)]
        standard = score / np.float32(np.sqrt(1.0 + parameters.scorer_noise**2))
        weight = np.float32(_POPULARITY_FROM_SCORE)
        taste = weight * standard + np.sqrt(1 - weight**2) * taste
    return np.exp(np.float32(_POPULARITY_SIGMA) * taste)
