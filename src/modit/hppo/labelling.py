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
    cases, pool, dimension = candidates.shape
    joint, same = np.empty((cases, pool)), np.empty((cases, pool))
    block = at_once(cases)
    for start in range(0, cases, block):
        part = np.arange(start, min(start + block, cases))
        queries, exclude = candidates[part].reshape(-1, dimension), np.repeat(seeds[part], pool, 0)
        found = index.search(queries, k, allowed=allowed, exclude=exclude).rows.reshape(len(part), pool, -1)
        for view in np.unique(views[part]):
            rows = views[part] == view
            of_view, wanted = found[rows].reshape(-1, found.shape[-1]), np.repeat(patterns[part][rows], pool)
            metrics = list_metrics(of_view, positive, case_labels[view], wanted)
            joint[part[rows]] = metrics.joint.reshape(-1, pool)
            same[part[rows]] = metrics.same.reshape(-1, pool)
    return Labels(joint, same)
