"""The items of the demo world: pattern centres, attribute directions, the scorer, and what is drawn from them.

An item of pattern p is `normalise(centre_p + o)` with the offset

    o = s * sum_y z_y w_{y,p} + n,    w_{y,p} = normalise(sqrt(m) u_y + sqrt(1 - m) v_{y,p}),

z ~ N(0, I), n ~ N(0, (r^2 / d) I), u_y shared by all patterns and orthonormal, v_{y,p} the pattern's own, m the
`shared_direction`. The scorer of domain y sees the standardised projection of o on w_{y,p} with noise, and says yes
with a steep logistic probability: the attribute is dense far out on w_{y,p}, and rare at the centre, which is where an
average of seeds retrieves. The centres are orthogonal to all u_y, so that a linear map can find the shared directions.

In a domain that is not linear the scorer sees a shape (`modit.data.demo.shapes`) of two such projections instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modit.data.demo.parameters import POPULARITY_DOMAIN, DemoParameters
from modit.data.demo.shapes import score_sample, shaped_score

GEOMETRY_STREAM, ITEM_STREAM = 0, 1
_SECOND_STREAM, _SCORED_STREAM = 5, 6
# Part of the world's definition: another chunk size is another world.
CHUNK_ITEMS = 20_000
_POPULARITY_SIGMA = 1.4
# Of the scores of a shape and of the noise, every so many take part in the search for a threshold.
_SHAPE_STEP, _GRID_STEP = 100, 40
_POPULARITY_FROM_SCORE = 0.75


@dataclass(frozen=True)
class Geometry:
    """Everything that is fixed before the first item; P patterns, Y domains.

    Attributes:
        super_pattern: int64 [P], the super-pattern of each pattern.
        centres: float32 [P, d], unit length.
        directions: float32 [Y, P, d], unit length.
        projection_std: float32 [Y, P], standard deviation of the offset's projection on its direction.
        second_directions: float32 [Y, P, d], unit length; only domains that are not linear read them.
        second_std: float32 [Y, P], the same of the projection on those.
        thresholds: float32 [Y, P], where the scorer's probability is one half.
        size_cdf: float64 [P], cumulative share of items.
    """

    super_pattern: np.ndarray
    centres: np.ndarray
    directions: np.ndarray
    projection_std: np.ndarray
    second_directions: np.ndarray
    second_std: np.ndarray
    thresholds: np.ndarray
    size_cdf: np.ndarray


def make_geometry(parameters: DemoParameters) -> Geometry:
    """Draws the geometry of a world; a pure function of the parameters."""
    rng = parameters.generator(GEOMETRY_STREAM)
    count, dimension, domains = parameters.patterns, parameters.dimension, parameters.domains
    super_pattern = np.arange(count) % parameters.super_patterns
    shared = np.linalg.qr(rng.standard_normal((dimension, domains)))[0].T
    centres = _centres(parameters, super_pattern, shared, rng)
    local = _unit(rng.standard_normal((domains, count, dimension)))
    weight = parameters.shared_direction
    directions = _unit(np.sqrt(weight) * shared[:, None] + np.sqrt(1 - weight) * local)
    second = _second_directions(parameters, directions)
    shift = parameters.prevalence_spread * rng.standard_normal((domains, count))
    levels = [_threshold(share, parameters, domain) for domain, share in enumerate(parameters.shares)]
    thresholds = np.array(levels)[:, None] + shift
    sizes = (1.0 + np.arange(count)) ** -parameters.size_skew
    return Geometry(
        super_pattern=super_pattern,
        centres=centres.astype(np.float32),
        directions=directions.astype(np.float32),
        projection_std=_projection_std(parameters, directions, directions),
        second_directions=second.astype(np.float32),
        second_std=_projection_std(parameters, second, directions),
        thresholds=thresholds.astype(np.float32),
        size_cdf=np.cumsum(sizes / sizes.sum()),
    )


def logistic(x: np.ndarray) -> np.ndarray:
    """The logistic function, safe for any x."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _centres(
    parameters: DemoParameters, super_pattern: np.ndarray, shared: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    roots = _unit(rng.standard_normal((parameters.super_patterns, parameters.dimension)))
    steps = _unit(rng.standard_normal((parameters.patterns, parameters.dimension)))
    centres = roots[super_pattern] + parameters.pattern_distance * steps
    return _unit(centres - (centres @ shared.T) @ shared)


def _second_directions(parameters: DemoParameters, directions: np.ndarray) -> np.ndarray:
    """Unit directions orthogonal to the first ones of their domain [Y, P, d], partly shared by all patterns."""
    rng = parameters.generator(_SECOND_STREAM)
    domains, count, dimension = directions.shape
    shared, local = rng.standard_normal((domains, 1, dimension)), rng.standard_normal((domains, count, dimension))
    weight = parameters.shared_direction
    drawn = np.sqrt(weight) * _unit(shared) + np.sqrt(1 - weight) * _unit(local)
    return _unit(drawn - (drawn * directions).sum(-1, keepdims=True) * directions)


def _projection_std(parameters: DemoParameters, onto: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Standard deviation of the offset's projection on unit vectors [Y, P, d], float32 [Y, P]."""
    overlap = np.einsum("ypd,xpd->ypx", onto, directions)
    ordinary = parameters.ordinary_spread**2 / parameters.dimension
    return np.sqrt(parameters.attribute_spread**2 * (overlap**2).sum(2) + ordinary).astype(np.float32)


def _threshold(share: float, parameters: DemoParameters, domain: int) -> float:
    """Where the scorer's probability is one half, so that the expected verdict is `share`, by bisection."""
    grid = np.linspace(-8.0, 8.0, 4_001)
    density = np.exp(-(grid**2) / 2)
    density /= density.sum()
    shape = parameters.shape_of(domain)
    if shape is None:
        # The score is Gaussian: projection, noise and the pattern's shift add up.
        scores = grid * np.sqrt(1.0 + parameters.scorer_noise**2 + parameters.prevalence_spread**2)
        weights = density
    else:
        spread = np.sqrt(parameters.scorer_noise**2 + parameters.prevalence_spread**2)
        sample = score_sample(shape)[::_SHAPE_STEP, None] + spread * grid[::_GRID_STEP]
        scores = sample.ravel()
        weights = np.tile(density[::_GRID_STEP] / density[::_GRID_STEP].sum(), len(sample)) / len(sample)
    low, high = -20.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = float(weights @ logistic(parameters.scorer_steepness * (scores - middle)))
        low, high = (middle, high) if expected > share else (low, middle)
    return (low + high) / 2


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@dataclass(frozen=True)
class ItemChunk:
    """Some items of the world; n rows.

    Attributes:
        first: number of the first item.
        patterns: int32 [n].
        embeddings: float32 [n, d], unit length.
        attributes: bool [domains, n].
        scored: bool [domains, n], whether the verdict is known.
        popularity: float32 [n], positive, log-normal: how often an item is met inside its pattern.
    """

    first: int
    patterns: np.ndarray
    embeddings: np.ndarray
    attributes: np.ndarray
    scored: np.ndarray
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
    scored = parameters.generator(_SCORED_STREAM, chunk).random(scores.shape) < parameters.scored_share
    return ItemChunk(first, patterns, embeddings, attributes, scored, _popularity(parameters, scores, rng))


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
    score = projection / geometry.projection_std[domain, patterns]
    shape = parameters.shape_of(domain)
    if shape is not None:
        second = np.einsum("nd,nd->n", offsets, geometry.second_directions[domain, patterns])
        score = shaped_score(shape, score, second / geometry.second_std[domain, patterns]).astype(np.float32)
    noise = rng.standard_normal(len(patterns), dtype=np.float32)
    return score + np.float32(parameters.scorer_noise) * noise


def _popularity(parameters: DemoParameters, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    taste = rng.standard_normal(scores.shape[1], dtype=np.float32)
    if POPULARITY_DOMAIN in parameters.domain_names:
        score = scores[parameters.domain_names.index(POPULARITY_DOMAIN)]
        standard = score / np.float32(np.sqrt(1.0 + parameters.scorer_noise**2))
        weight = np.float32(_POPULARITY_FROM_SCORE)
        taste = weight * standard + np.sqrt(1 - weight**2) * taste
    return np.exp(np.float32(_POPULARITY_SIGMA) * taste)
