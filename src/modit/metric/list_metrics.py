"""Attr, Joint, Cond and Same@K of retrieved lists (specification section 1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ListMetrics(NamedTuple):
    """Metrics of each query [B]; all in [0, 1].

    Attributes:
        attr: share of results with the attribute (D_y).
        joint: share with the attribute and in the pattern (J_y), the primary measure.
        same: share in the pattern (S_y).
        cond: joint over attr (P_y); NaN where no result has the attribute, so that means skip it.
    """

    attr: np.ndarray
    joint: np.ndarray
    same: np.ndarray
    cond: np.ndarray


def list_metrics(rows: np.ndarray, positive: np.ndarray, labels: np.ndarray, pattern: np.ndarray) -> ListMetrics:
    """Judges retrieved lists.

    Args:
        rows: catalogue rows of the results [B, K]; -1 (nothing found) counts as a miss.
        positive: the scorer's verdict of every item, bool [N].
        labels: pattern of every item [N].
        pattern: the pattern of each query's seeds [B].
    """
    found = rows >= 0
    has_attribute = positive[rows] & found
    in_pattern = (labels[rows] == pattern[:, None]) & found
    attr, same = has_attribute.mean(1), in_pattern.mean(1)
    joint = (has_attribute & in_pattern).mean(1)
    return ListMetrics(attr, joint, same, np.divide(joint, attr, out=np.full_like(joint, np.nan), where=attr > 0))


def visible_depth(k: int, items: int, visible: int) -> int:
    """K where only some of the items may be seen: the same share of them, so the same neighbourhood; at least 5.

    With the full K over a fraction of the items a list would reach beyond the pattern, and rewards would teach to move
    further out than the whole catalogue wants (docs/adr/0005).

    Args:
        k: results judged over the whole catalogue.
        items: N.
        visible: how many of them may be seen.
    """
    return max(5, round(k * visible / items))
