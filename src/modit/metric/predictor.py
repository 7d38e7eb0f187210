"""The density predictor of a domain, its geometry, and how well the predictor ranks (specification section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modit.core.arrays import save_arrays
from modit.core.seeds import derived_seed, stream
from modit.data.hash_unit import hash_unit
from modit.data.vectors import nearest_centroid, unit
from modit.metric.patterns import Patterns, cluster

if TYPE_CHECKING:  # the images that fit no predictor have no FAISS
    from modit.index.searchable import SearchableIndex
    from modit.metric.evidence import KnownVerdicts


@dataclass(frozen=True)
class DensityPredictor:
    """An affine map from an embedding to predicted attribute density.

    Attributes:
        direction: float32 [d].
        offset: scalar.
        alpha: the ridge strength chosen by leave-one-out error.
    """

    direction: np.ndarray
    offset: float
    alpha: float

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Predicted density [N] of embeddings [N, d]; used to order items only, so it is not clipped to [0, 1]."""
        return np.asarray(embeddings) @ self.direction + np.float32(self.offset)

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, direction=self.direction, offset=self.offset, alpha=self.alpha)

    @classmethod
    def load(cls, path: Path) -> DensityPredictor:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["direction"], float(stored["offset"]), float(stored["alpha"]))


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
        save_arrays(path, density=self.density, attribute=self.attribute, mean=self.mean, whitening=self.whitening)

    @classmethod
    def load(cls, path: Path) -> DomainGeometry:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


_DENSITY_ALPHAS, _PROBE_ALPHAS = np.logspace(-2, 4, 13), np.logspace(-1, 4, 11)
_SAMPLE = 200_000
_ANCHORS = 20_000


def fit_predictor(embeddings: np.ndarray, density: np.ndarray) -> DensityPredictor:
    """Ridge on standardised features, its strength chosen by leave-one-out error.

    Args:
        embeddings: of the anchors [A, d].
        density: Attr@K measured for each anchor on the index [A], in [0, 1].
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

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
    from sklearn.linear_model import RidgeCV

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


def fit_on_verdicts(
    verdicts: KnownVerdicts, index: SearchableIndex, k: int, seed: int
) -> tuple[DensityPredictor, DomainGeometry]:
    """Fits density and attribute on known verdicts alone.

    The density of a known item is the share of positives among the k nearest other known items.

    Args:
        verdicts: The known ones; density is measured at no more than 20,000 of them.
        index: Over all items.
        k: At most half of the known items are taken.
        seed: Of the samples.
    """
    from modit.index.exact import FEW

    known = np.flatnonzero(verdicts.known)
    rows = known
    if len(rows) > _ANCHORS:
        rows = np.sort(stream(seed, "verdict-anchors").choice(rows, _ANCHORS, replace=False))
    embeddings = np.asarray(verdicts.embeddings)[rows]
    neighbours = min(k, max(1, len(known) // 2))
    # Of more queries at once, an exact index imports torch and keeps a copy of the rows; a service does without.
    blocks = [slice(start, start + FEW - 1) for start in range(0, len(rows), FEW - 1)]
    found = np.concatenate(
        [index.search(embeddings[b], neighbours, verdicts.known, rows[b, None]).rows for b in blocks]
    )
    predictor = fit_predictor(embeddings, verdicts.positive[found].mean(1))
    fitted_on = (verdicts.embeddings, verdicts.positive, verdicts.known)
    return predictor, fit_geometry(*fitted_on, predictor.direction, derived_seed(seed, "geometry"))


def validate_predictor(
    embeddings: np.ndarray, density: np.ndarray, groups: dict[str, np.ndarray], folds: int = 5
) -> list[dict[str, float | str]]:
    """The paper's validation table (Table 16), cross-fitted over group folds.

    Args:
        embeddings: [A, d].
        density: measured Attr@K [A].
        groups: split name -> group of each anchor [A]; whole groups are held out together (item hash, pattern,
            super-pattern).
        folds: number of folds.

    Returns:
        A row for each split: AUC20/80, Spearman, mean true density of the top and bottom predicted tenth in percent,
        lift.
    """
    return [
        {"split": name, **_scores(_cross_predict(embeddings, density, group, folds), density)}
        for name, group in groups.items()
    ]


def validation_groups(
    item_ids: np.ndarray, patterns: Patterns, rows: np.ndarray, seed: int, folds: int = 5
) -> dict[str, np.ndarray]:
    """Which anchors are held out together: by item hash, by pattern, by super-pattern (a cluster of pattern centroids).

    Args:
        item_ids: of the anchors [A].
        patterns: of the domain.
        rows: catalogue rows of the anchors [A].
        seed: of the k-means over centroids.
        folds: number of item-hash folds.
    """
    pattern = patterns.labels[rows]
    count = max(folds, len(patterns.centroids) // 5)
    super_pattern = nearest_centroid(
        patterns.centroids, cluster(patterns.centroids, min(count, len(patterns.centroids)), seed)
    )
    return {
        "item-hash": (hash_unit(item_ids, "predictor-folds") * folds).astype(int),
        "pattern-out": pattern,
        "super-pattern-out": super_pattern[pattern],
    }


def _cross_predict(embeddings: np.ndarray, density: np.ndarray, group: np.ndarray, folds: int) -> np.ndarray:
    fold = np.unique(group, return_inverse=True)[1] % folds
    predicted = np.empty(len(density))
    for held in np.unique(fold):
        fit = fold != held
        predicted[~fit] = fit_predictor(embeddings[fit], density[fit]).predict(embeddings[~fit])
    return predicted


def _scores(predicted: np.ndarray, density: np.ndarray) -> dict[str, float]:
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    order = np.argsort(density, kind="stable")
    fifth, tenth = max(1, len(order) // 5), max(1, len(order) // 10)
    extremes = np.r_[order[:fifth], order[-fifth:]]
    ranked = density[np.argsort(predicted, kind="stable")]
    top, bottom = 100 * ranked[-tenth:].mean(), 100 * ranked[:tenth].mean()
    return {
        "auc_20_80": float(roc_auc_score(np.repeat([0, 1], fifth), predicted[extremes])),
        "spearman": float(spearmanr(predicted, density).statistic),
        "top_10": float(top),
        "bottom_10": float(bottom),
        "lift": float(top / bottom) if bottom > 0 else float("inf"),
    }
