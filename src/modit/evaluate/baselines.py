"""Classical rows: what a user would try before training anything. Their free number is tuned on validation cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modit.data.vectors import mean_of_rows, unit
from modit.metric.cases import Cases
from modit.metric.predictor import DensityPredictor


@dataclass(frozen=True)
class BaselineContext:
    """What the classical rows may use: training items only.

    Attributes:
        embeddings: [N, d].
        positive: bool [N].
        trainable: bool [N].
        predictor: the domain's density predictor.
    """

    embeddings: np.ndarray
    positive: np.ndarray
    trainable: np.ndarray
    predictor: DensityPredictor

    @cached_property
    def global_centroid(self) -> np.ndarray:
        """Unit mean of all training positives [d]."""
        return unit(np.asarray(self.embeddings[self.positive & self.trainable]).mean(0))


Baseline = Callable[[BaselineContext, Cases], np.ndarray]
TunedBaseline = Callable[[BaselineContext, Cases, float], np.ndarray]


def average_pooling(context: BaselineContext, cases: Cases) -> np.ndarray:
    """The mean of the seeds [n, d]."""
    return mean_of_rows(context.embeddings, cases.seeds)


def global_attribute_centroid(context: BaselineContext, cases: Cases) -> np.ndarray:
    """Attribute-only retrieval: the same query for every case [n, d]."""
    return np.repeat(context.global_centroid[None], len(cases), 0)


def rocchio(context: BaselineContext, cases: Cases, weight: float) -> np.ndarray:
    """Seeds' mean plus `weight` times the centroid of all training positives (Rocchio 1971, no negatives)."""
    return unit(average_pooling(context, cases) + weight * context.global_centroid)


def density_step(context: BaselineContext, cases: Cases, weight: float) -> np.ndarray:
    """Seeds' mean moved by `weight` along the unit direction of the density predictor."""
    return unit(average_pooling(context, cases) + weight * unit(context.predictor.direction))


def best_scored_seeds(context: BaselineContext, cases: Cases, share: float) -> np.ndarray:
    """The mean of the `share` of the seeds with the highest predicted density; seeds are in ascending order."""
    counts = np.maximum(1, np.round(share * cases.lengths)).astype(int)
    rows = np.full_like(cases.seeds, -1)
    for index, (seeds, length, count) in enumerate(zip(cases.seeds, cases.lengths, counts, strict=True)):
        rows[index, :count] = seeds[length - count : length]
    return mean_of_rows(context.embeddings, rows)


FIXED: dict[str, Baseline] = {
    "Average pooling": average_pooling,
    "Global attribute centroid": global_attribute_centroid,
}

# Weight 0 is average pooling; at 10 a query is within 6 degrees of the limit: both ends of the grid are natural ones.
_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
# From the one best seed of each case (shares below 1/m) to all of them, which is average pooling.
_SHARES = (0.001, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
TUNED: dict[str, tuple[TunedBaseline, tuple[float, ...]]] = {
    "Rocchio": (rocchio, _WEIGHTS),
    "Density step": (density_step, _WEIGHTS),
    "Best-scored seeds": (best_scored_seeds, _SHARES),
}
