"""Attribute models: the log-odds that an item has the attribute, learnt from the known verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from modit.core.memory import at_once
from modit.data.vectors import ROWS_AT_ONCE
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.metric.calibration import CLIP, NONE, Calibration, calibrate, log_loss
from modit.metric.evidence import KnownVerdicts

# More known verdicts are sampled: no model below gains from more, and trees take minutes.
_SAMPLE = 100_000
# Likewise of the items that kinds are compared on.
_JUDGED = 100_000
_NEIGHBOURS, _PRIOR_WEIGHT = 30, 2.0
# Parts that verdicts are dealt into to calibrate a model without items of its own, and verdicts that are dealt.
_FOLDS, _FOLDED = 5, 20_000


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
        # Found once: looking for the libraries takes longer than most answers.
        self._threads = ThreadpoolController()

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        with self._threads.limit(limits=1):
            return np.clip(self._model.decision_function(embeddings), -CLIP, CLIP)


class NeighbourModel:
    """The share of positives among the 30 nearest known items, smoothed towards the share among all known items."""

    def __init__(self, known: KnownVerdicts, seed: int) -> None:
        """Keeps the known verdicts, or a sample of them; nothing is fitted."""
        rows = _sample(known, seed)
        self._positive = known.positive[rows]
        self._rate = float(self._positive.mean())
        embeddings = np.asarray(known.embeddings)[rows]
        self._index = ItemIndex.build(embeddings, rows.astype(str), IndexParams(kind="flat", threads=1))

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        count = min(_NEIGHBOURS, len(self._positive))
        rows = self._index.search(np.asarray(embeddings, np.float32), count).rows
        share = (self._positive[rows].sum(1) + _PRIOR_WEIGHT * self._rate) / (count + _PRIOR_WEIGHT)
        return np.clip(np.log(share) - np.log1p(-share), -CLIP, CLIP)


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
        # Found once: looking for the libraries takes longer than most answers.
        self._threads = ThreadpoolController()

    def log_odds(self, embeddings: np.ndarray) -> np.ndarray:
        """The log-odds, float64 [n]."""
        with self._threads.limit(limits=1):
            return np.clip(self._model.decision_function(embeddings), -CLIP, CLIP)


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


def fit_attribute_models(
    known: KnownVerdicts, seed: int, kinds: Sequence[str] = (*KINDS, MEAN)
) -> dict[str, AttributeModel]:
    """Fits a model of each kind.

    Args:
        known: Of the domain; both verdicts must occur at least three times.
        seed: Of samples and of the trees.
        kinds: Of `KINDS`, and `mean` for the mean of all of them.

    Returns:
        Kind -> model.
    """
    needed = [kind for kind in KINDS if kind in kinds or MEAN in kinds]
    with threadpool_limits(1):  # the bytes do not depend on the machine, and busy cores are not waited for
        models: dict[str, AttributeModel] = {kind: KINDS[kind](known, seed) for kind in needed}
    models[MEAN] = MeanModel(*models.values())
    return {kind: models[kind] for kind in (*KINDS, MEAN) if kind in kinds}


def fit_calibrated_logistic(known: KnownVerdicts, fewest: int, seed: int) -> tuple[Calibration, np.ndarray]:
    """Fits a logistic regression on all known verdicts, and calibrates it on what it says of those left out of a fit.

    Each verdict is left out once: five fits, each without a fifth of the verdicts of each kind.

    Args:
        known: At least `fewest` of each kind.
        fewest: Verdicts of a kind that calibration needs, at least 5.
        seed: Of the folds and samples.

    Returns:
        The calibration, and the calibrated log-odds of every item, float32 [N], in [-6, 6].
    """
    from sklearn.model_selection import StratifiedKFold

    rows, embeddings = _sample(known, seed, _FOLDED), np.asarray(known.embeddings)
    positive, left_out = known.positive[rows], np.empty(len(rows))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed % 2**32)
    with threadpool_limits(1):
        for fit, rest in folds.split(rows, positive):
            mask = np.zeros(len(known.known), bool)
            mask[rows[fit]] = True
            left_out[rest] = LogisticModel(replace(known, known=mask), seed).log_odds(embeddings[rows[rest]])
        model = LogisticModel(known, seed)
    calibration = calibrate(left_out, positive, fewest)
    return calibration, calibration(_in_blocks(model, known.embeddings)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class AttributeOdds:
    """The attribute model that validation prefers, as what it says of every item.

    Attributes:
        kind: Of the model.
        calibration: Of its log-odds, fitted on validation.
        log_loss: Kind -> log-loss on validation items after calibration; empty where validation has no verdicts of
            one of the two kinds.
        log_odds: Calibrated, of every item, float32 [N], in [-6, 6].
    """

    kind: str
    calibration: Calibration
    log_loss: Mapping[str, float]
    log_odds: np.ndarray

    def facts(self) -> dict[str, Any]:
        """Kind, log-loss of every kind and calibration, for `second_stage.json`."""
        calibration = self.calibration._asdict()
        calibration |= {name: round(calibration[name], 6) for name in ("slope", "intercept")}
        losses = {kind: round(value, 6) for kind, value in self.log_loss.items()}
        return {"kind": self.kind, "log_loss": losses, "calibration": calibration}


def fit_attribute_odds(
    known: KnownVerdicts, validation: np.ndarray, kinds: Sequence[str], fewest: int, seed: int
) -> AttributeOdds:
    """Fits every kind of attribute model on known verdicts, and chooses and calibrates one on validation items.

    Args:
        known: Of training items.
        validation: Scored items to choose and calibrate on, bool [N]; none of them is known.
        kinds: Of attribute models, at least one.
        fewest: Positives, and negatives, that validation needs; with fewer the last kind is taken, uncalibrated.
        seed: Of the models.

    Raises:
        ValueError: An item is both known and for validation.
    """
    if (validation & known.known).any():
        raise ValueError("items to choose on are among the known ones; allowed: items that no model was fitted on")
    models = fit_attribute_models(known, seed, kinds)
    rows = np.flatnonzero(validation)
    if len(rows) > _JUDGED:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _JUDGED, replace=False))
    embeddings, positive = np.asarray(known.embeddings[rows]), known.positive[rows]
    said = {kind: _in_blocks(model, embeddings) for kind, model in models.items()}
    calibrations = {kind: calibrate(log_odds, positive, fewest) for kind, log_odds in said.items()}
    losses = {}
    if 0 < positive.sum() < len(positive):
        losses = {kind: log_loss(calibrations[kind](log_odds), positive) for kind, log_odds in said.items()}
    enough = all(calibration.method != NONE for calibration in calibrations.values())
    kind = min(losses, key=lambda name: losses[name]) if enough else list(models)[-1]
    calibrated = calibrations[kind](_in_blocks(models[kind], known.embeddings)).astype(np.float32)
    return AttributeOdds(kind, calibrations[kind], losses, calibrated)


def _in_blocks(model: AttributeModel, embeddings: np.ndarray) -> np.ndarray:
    block = at_once(ROWS_AT_ONCE)
    starts = range(0, len(embeddings), block)
    parts = [model.log_odds(np.asarray(embeddings[start : start + block])) for start in starts]
    return np.concatenate(parts) if parts else np.empty(0)


def _sample(known: KnownVerdicts, seed: int, most: int = _SAMPLE) -> np.ndarray:
    rows = np.flatnonzero(known.known)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return rows
