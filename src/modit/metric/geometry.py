"""What a domain knows of its space: where density and attribute grow, and how the catalogue spreads (docs/adr/0011)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV

from modit.metric.vectors import unit

_ALPHAS = np.logspace(-1, 4, 11)
_SAMPLE = 200_000


@dataclass(frozen=True)
class DomainGeometry:
    """Linear facts about a domain's embeddings, fitted on items that the domain may learn from.

    Attributes:
        density: unit direction of the density predictor, float32 [d].
        attribute: unit direction of a linear probe for the item's own attribute, float32 [d].
        mean: mean embedding, float32 [d].
        whitening: regularised inverse covariance, float32 [d, d].
    """

    density: np.ndarray
    attribute: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        np.savez(path, density=self.density, attribute=self.attribute, mean=self.mean, whitening=self.whitening)

    @classmethod
    def load(cls, path: Path) -> DomainGeometry:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def fit_geometry(
    embeddings: np.ndarray, positive: np.ndarray, trainable: np.ndarray, density_direction: np.ndarray, seed: int
) -> DomainGeometry:
    """Fits the geometry of a domain.

    The density predictor says where the attribute is common around; the probe (ridge on the item's own label)
    says which items have it. The inverse covariance is regularised by its mean eigenvalue.

    Args:
        embeddings: unit [N, d].
        positive: the scorer's verdict, bool [N].
        trainable: bool [N]; nothing else is read, and no more than 200,000 of them.
        density_direction: weights of the density predictor [d].
        seed: of the sample.
    """
    rows = np.flatnonzero(trainable)
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SAMPLE, replace=False))
    items = np.asarray(embeddings)[rows].astype(np.float64)
    mean = items.mean(0)
    probe = RidgeCV(_ALPHAS).fit(items - mean, positive[rows].astype(np.float64))
    covariance = np.cov(items.T)
    ridge = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening = np.linalg.inv(covariance + ridge)
    return DomainGeometry(
        unit(density_direction), unit(probe.coef_), mean.astype(np.float32), whitening.astype(np.float32)
    )
