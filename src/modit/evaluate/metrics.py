"""The within-pattern AUC of a query (specification section 1)."""

from __future__ import annotations

import numpy as np


def within_pattern_auc(queries: np.ndarray, tails: list[np.ndarray], inputs: list[np.ndarray]) -> np.ndarray:
    """Does the query lean to the high-metric tail of its pattern? (AUC of Table 2; average pooling is just under 0.5.)

    Args:
        queries: unit [B, d].
        tails: embeddings of each case's held-out high-metric items, B arrays [t, d].
        inputs: embeddings of each case's seeds, B arrays [m, d].

    Returns:
        [B], the chance that a tail item scores above an input item; ties count half.
    """
    values = np.empty(len(queries))
    for index, (query, tail, seeds) in enumerate(zip(queries, tails, inputs, strict=True)):
        difference = (tail @ query)[:, None] - (seeds @ query)[None, :]
        values[index] = (difference > 0).mean() + 0.5 * (difference == 0).mean()
    return values
