"""The density predictor: ridge from an embedding to the attribute's share around it (specification section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from modit.data.splits import hash_unit
from modit.metric.patterns import Patterns, assign, cluster

_ALPHAS = np.logspace(-2, 4, 13)


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
        np.savez(path, direction=self.direction, offset=self.offset, alpha=self.alpha)

    @classmethod
    def load(cls, path: Path) -> DensityPredictor:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["direction"], float(stored["offset"]), float(stored["alpha"]))


def fit_predictor(embeddings: np.ndarray, density: np.ndarray) -> DensityPredictor:
    """Ridge on standardised features, its strength chosen by leave-one-out error.

    Args:
        embeddings: of the anchors [A, d].
        density: Attr@K measured for each anchor on the index [A], in [0, 1].
    """
    scaler = StandardScaler().fit(embeddings)
    model = RidgeCV(_ALPHAS).fit(scaler.transform(embeddings), density)
    direction = model.coef_ / scaler.scale_
    offset = float(model.intercept_ - direction @ scaler.mean_)
    return DensityPredictor(direction.astype(np.float32), offset, float(model.alpha_))


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
    super_pattern = assign(patterns.centroids, cluster(patterns.centroids, min(count, len(patterns.centroids)), seed))
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
