"""What a domain's ridges fit: the density predictor, and the geometry with its attribute probe.

Apart from their results (`density`, `geometry`), which every later step reads: those import no scikit-learn.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from modit.metric.density import DensityPredictor
from modit.metric.geometry import DomainGeometry
from modit.metric.vectors import unit

_DENSITY_ALPHAS, _PROBE_ALPHAS = np.logspace(-2, 4, 13), np.logspace(-1, 4, 11)
_SAMPLE = 200_000


def fit_predictor(embeddings: np.ndarray, density: np.ndarray) -> DensityPredictor:
    """Ridge on standardised features, its strength chosen by leave-one-out error.

    Args:
        embeddings: of the anchors [A, d].
        density: Attr@K measured for each anchor on the index [A], in [0, 1].
    """
    scaler = StandardScaler().fit(embeddings)
    model = RidgeCV(_DENSITY_ALPHAS).fit(scaler.transform(embeddings), density)
    direction = model.coef_ / scaler.scale_
    offset = float(model.intercept_ - direction @ scaler.mean_)
    return DensityPredictor(direction.astype(np.float32), offset, float(model.alpha_))


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
    probe = RidgeCV(_PROBE_ALPHAS).fit(items - mean, positive[rows].astype(np.float64))
    covariance = np.cov(items.T)
    ridge = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening = np.linalg.inv(covariance + ridge)
    return DomainGeometry(
        unit(density_direction), unit(probe.coef_), mean.astype(np.float32), whitening.astype(np.float32)
    )
