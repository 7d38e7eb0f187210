"""Probabilities of the attribute: how they are calibrated, and how well they agree with what the scorer says.

A probability is kept as log-odds, log(p / (1 - p)), in [-6, 6].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

CLIP = 6.0
PLATT, NONE = "platt", "none"
BINS = 10


class Calibration(NamedTuple):
    """Makes a model's log-odds agree with how often items have the attribute: slope * log-odds + intercept.

    Attributes:
        method: `platt` (Platt 1999), or `none` where there were too few items to fit it.
        slope: >= 0; 0 where the model does not tell positive from negative items.
        intercept: Any number.
        positives: Items with the attribute that it was fitted on, or that were too few.
        negatives: Items without it.
    """

    method: str
    slope: float
    intercept: float
    positives: int
    negatives: int

    def __call__(self, log_odds: np.ndarray) -> np.ndarray:
        """The calibrated log-odds, in [-6, 6]."""
        return np.clip(self.slope * log_odds + self.intercept, -CLIP, CLIP)


def calibrate(log_odds: np.ndarray, positive: np.ndarray, fewest: int) -> Calibration:
    """Fits slope and intercept on items that the model was not fitted on.

    Args:
        log_odds: Of the model [n].
        positive: The verdicts, bool [n].
        fewest: Positives, and negatives, that a fit needs; with fewer of a kind nothing is changed.
    """
    from sklearn.linear_model import LogisticRegression

    positives = int(positive.sum())
    negatives = len(positive) - positives
    if min(positives, negatives) < fewest:
        return Calibration(NONE, 1.0, 0.0, positives, negatives)
    with threadpool_limits(1):
        fitted = LogisticRegression().fit(log_odds[:, None], positive)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:  # no better than the share of positives
        slope, intercept = 0.0, float(np.log(positives / negatives))
    return Calibration(PLATT, slope, intercept, positives, negatives)


def log_loss(log_odds: np.ndarray, positive: np.ndarray) -> float:
    """The mean negative log-likelihood of verdicts, in nats, >= 0.

    Args:
        log_odds: [n], n >= 1.
        positive: The verdicts, bool [n].
    """
    return float(np.logaddexp(0, np.where(positive, -log_odds, log_odds)).mean())


def probability(log_odds: np.ndarray) -> np.ndarray:
    """The probabilities that belong to log-odds, in [0, 1]."""
    return 1 / (1 + np.exp(-np.asarray(log_odds, np.float64)))


def reliability(log_odds: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Compares predicted with observed shares, on items that neither fit nor calibration saw.

    Args:
        log_odds: Calibrated [n].
        positive: The verdicts, bool [n].

    Returns:
        `items`, `positives`; `log_loss`, `base_log_loss` (of the share of positives as every item's probability),
        `brier` and `auc`, which are None where a kind of verdict is missing; and `bins`, ten of equal width, of those
        that hold an item `low`, `high`, `items`, mean `predicted` and `observed`, in [0, 1].
    """
    predicted, rate = probability(log_odds), float(positive.mean()) if len(positive) else 0.0
    facts: dict[str, Any] = {"items": len(positive), "positives": int(positive.sum())}
    facts |= dict.fromkeys(("log_loss", "base_log_loss", "brier", "auc"))
    if 0 < rate < 1:
        from sklearn.metrics import roc_auc_score

        base = np.full(len(positive), np.log(rate / (1 - rate)))
        facts |= {
            "log_loss": log_loss(log_odds, positive),
            "base_log_loss": log_loss(base, positive),
            "brier": float(((predicted - positive) ** 2).mean()),
            "auc": float(roc_auc_score(positive, log_odds)),
        }
    place = np.minimum((predicted * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(place):
        within = place == number
        shares = {"predicted": float(predicted[within].mean()), "observed": float(positive[within].mean())}
        bins.append({"low": number / BINS, "high": (number + 1) / BINS, "items": int(within.sum())} | shares)
    return facts | {"bins": bins}
