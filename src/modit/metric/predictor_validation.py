"""How well predicted density ranks anchors that it has not seen: the paper's validation table (Table 16)."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from modit.data.hashing import hash_unit
from modit.metric.clustering import cluster
from modit.metric.patterns import Patterns, assign
from modit.metric.ridge import fit_predictor


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
