"""Labels of candidate queries: Joint and Same@K measured on the real index (specification section 6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from modit.core.memory import at_once
from modit.index import ItemIndex
from modit.metric.retrieval import list_metrics


class Labels(NamedTuple):
    """Measured metrics of candidates.

    Attributes:
        joint: [n, p].
        same: [n, p].
    """

    joint: np.ndarray
    same: np.ndarray


def label_candidates(
    index: ItemIndex,
    candidates: np.ndarray,
    seeds: np.ndarray,
    positive: np.ndarray,
    case_labels: np.ndarray,
    views: np.ndarray,
    patterns: np.ndarray,
    allowed: np.ndarray,
    k: int,
) -> Labels:
    """Searches every candidate and judges its results.

    Args:
        index: the staged index.
        candidates: unit [n, p, d].
        seeds: int32 [n, m], padded with -1; never counted as results.
        positive: bool [N].
        case_labels: pattern of every item in each view [V, N].
        views: the view of each case [n].
        patterns: the pattern of each case in its view [n].
        allowed: items that may be seen, bool [N].
        k: results judged.
    """
    count, block = max(1, len(candidates)), at_once(len(candidates))
    parts = [slice(start, start + block) for start in range(0, count, block)]
    labels = [
        _label(index, candidates[part], seeds[part], positive, case_labels, views[part], patterns[part], allowed, k)
        for part in parts
    ]
    return Labels(*(np.concatenate(values) for values in zip(*labels, strict=True)))


def _label(
    index: ItemIndex,
    candidates: np.ndarray,
    seeds: np.ndarray,
    positive: np.ndarray,
    case_labels: np.ndarray,
    views: np.ndarray,
    patterns: np.ndarray,
    allowed: np.ndarray,
    k: int,
) -> Labels:
    count, pool, dimension = candidates.shape
    found = index.search(candidates.reshape(-1, dimension), k, allowed=allowed, exclude=np.repeat(seeds, pool, 0)).rows
    joint, same = np.empty(count * pool), np.empty(count * pool)
    flat_views, flat_patterns = np.repeat(views, pool), np.repeat(patterns, pool)
    for view in np.unique(views):
        rows = flat_views == view
        metrics = list_metrics(found[rows], positive, case_labels[view], flat_patterns[rows])
        joint[rows], same[rows] = metrics.joint, metrics.same
    return Labels(joint.reshape(count, pool), same.reshape(count, pool))
