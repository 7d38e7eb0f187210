"""Attribute models: the log-odds that an item has the attribute, learnt from the known verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from modit.core.memory import at_once
from modit.metric.evidence import KnownVerdicts

# More known verdicts are sampled: no model below gains from more, and trees take minutes.
_SAMPLE = 100_000
_NEIGHBOURS, _PRIOR_WEIGHT = 30, 2.0
# Items whose neighbours are looked up at a time, which bounds the memory.
_AT_ONCE = 256
_CLIP = 6.0


class AttributeModel(Protocol):
    """Says how likely items are to have the attribute."""

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds of unit embeddings [n, d], float64 [n] in [-6, 6]."""


class LogisticModel:
    """Logistic regression on the embedding; its strength is chosen by cross-validated log-loss."""

    def __init__(self, known: KnownVerdicts, seed: int) -> None:
        """Fits the model on the known verdicts."""
        from sklearn.linear_model import LogisticRegressionCV

        rows = _sample(known, seed)
        self._model = LogisticRegressionCV(
            Cs=np.logspace(-1, 3, 5),
            cv=3,
            scoring="neg_log_loss",
            max_iter=500,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        )
        self._model.fit(np.asarray(known.embeddings)[rows], known.positive[rows])

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        with threadpool_limits(1):
            return np.clip(self._model.decision_function(embeddings), -_CLIP, _CLIP)


class NeighbourModel:
    """The share of positives among the 30 nearest known items, smoothed towards the share among all known items."""

    def __init__(self, known: KnownVerdicts, seed: int) -> None:
        """Keeps the known verdicts; nothing is fitted."""
        rows = _sample(known, seed)
        self._items = np.ascontiguousarray(known.embeddings[rows], np.float32)
        self._positive = known.positive[rows]
        self._rate = float(known.positive[known.known].mean())

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        count, step = min(_NEIGHBOURS, len(self._items)), at_once(_AT_ONCE)
        positives = np.zeros(len(embeddings))
        for start in range(0, len(embeddings), step):
            scores = np.asarray(embeddings[start : start + step], np.float32) @ self._items.T
            nearest = np.argpartition(-scores, count - 1, 1)[:, :count]
            positives[start : start + step] = self._positive[nearest].sum(1)
        share = (positives + _PRIOR_WEIGHT * self._rate) / (count + _PRIOR_WEIGHT)
        return np.clip(np.log(share) - np.log1p(-share), -_CLIP, _CLIP)


class TreesModel:
    """Boosted trees on the embedding."""

    def __init__(self, known: KnownVerdicts, seed: int) -> None:
        """Fits the model on the known verdicts."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        rows = _sample(known, seed)
        self._model = HistGradientBoostingClassifier(
            learning_rate=0.06, max_iter=300, max_leaf_nodes=15, early_stopping=True, random_state=seed
        )
        self._model.fit(np.asarray(known.embeddings)[rows], known.positive[rows])

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        with threadpool_limits(1):
            return np.clip(self._model.decision_function(embeddings), -_CLIP, _CLIP)


class MeanModel:
    """The mean log-odds of several models."""

    def __init__(self, *models: AttributeModel) -> None:
        """Keeps the models."""
        self._models = models

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        return np.mean([model.log_odds(embeddings) for model in self._models], 0)


LOGISTIC, NEIGHBOURS, TREES, MEAN = "logistic", "neighbours", "trees", "mean"
KINDS: dict[str, Callable[[KnownVerdicts, int], AttributeModel]] = {
    LOGISTIC: LogisticModel,
    NEIGHBOURS: NeighbourModel,
    TREES: TreesModel,
}


def fit_attribute_models(known: KnownVerdicts, seed: int) -> dict[str, AttributeModel]:
    """Fits a model of each kind, and their mean.

    Args:
        known: Of the domain; both verdicts must occur at least three times.
        seed: Of samples and of the trees.

    Returns:
        Kind -> model.
    """
    with threadpool_limits(1):  # the bytes do not depend on the machine, and busy cores are not waited for
        models = {kind: fit(known, seed) for kind, fit in KINDS.items()}
    return models | {MEAN: MeanModel(*models.values())}


def _sample(known: KnownVerdicts, seed: int) -> np.ndarray:
    rows = np.flatnonzero(known.known)
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SAMPLE, replace=False))
    return rows
