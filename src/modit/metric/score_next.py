"""Which items to score next: those whose verdicts teach an attribute model most, for a domain with few of them."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from modit.core.seeds import stream
from modit.data.catalog import NEGATIVE, NOT_SCORED, POSITIVE

# Fewer verdicts of a kind give no usable model: the items are spread over the catalogue instead.
FEWEST_OF_A_KIND = 5
# Items that the spread looks at; each item that it takes costs one pass over them.
_CANDIDATES = 100_000
_INVERSE_STRENGTH = 10.0
_SAMPLE = 100_000
_BLOCK = 256


def items_to_score(embeddings: np.ndarray, verdicts: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Chooses items whose verdicts to ask for.

    Without five verdicts of each kind: farthest first, so each item is the one farthest from all that are scored or
    chosen (greedy k-center; Sener & Savarese 2018). With them: a sample with weights p (1 - p), where p is the
    probability of a logistic regression on the known verdicts (uncertainty sampling; Lewis & Gale 1994). A sample, not
    the most uncertain items, because those are alike. Both look at embeddings and earlier verdicts only, so the
    verdicts are no fair sample of the catalogue: the share of positives among them is not the catalogue's.

    Args:
        embeddings: Unit [N, d].
        verdicts: As in `Catalog.verdicts`, int8 [N].
        count: Most items.
        seed: Of the first item and of samples.

    Returns:
        Rows without a verdict, most wanted first; at most `count`.
    """
    generator = stream(seed, "score-next")
    count = min(count, int((verdicts == NOT_SCORED).sum()))
    if min((verdicts == POSITIVE).sum(), (verdicts == NEGATIVE).sum()) < FEWEST_OF_A_KIND:
        return _farthest_first(embeddings, verdicts != NOT_SCORED, count, generator)
    return _uncertain(embeddings, verdicts, count, generator)


def _farthest_first(
    embeddings: np.ndarray, known: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    rows = np.flatnonzero(~known)
    limit = max(_CANDIDATES, count)
    if len(rows) > limit:
        rows = np.sort(generator.choice(rows, limit, replace=False))
    items = np.asarray(embeddings)[rows]
    # The greatest inner product with any item that is scored or chosen: the farthest item has the least.
    nearness = np.full(len(rows), -np.inf, np.float32)
    for block in range(0, int(known.sum()), _BLOCK):
        scored = np.asarray(embeddings)[np.flatnonzero(known)[block : block + _BLOCK]]
        np.maximum(nearness, (items @ scored.T).max(1), out=nearness)
    chosen = np.empty(count, np.int64)
    for place in range(count):
        first = place == 0 and not known.any()
        chosen[place] = generator.integers(len(rows)) if first else nearness.argmin()
        np.maximum(nearness, items @ items[chosen[place]], out=nearness)
        nearness[chosen[place]] = np.inf
    return rows[chosen]


def _uncertain(embeddings: np.ndarray, verdicts: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    known, rows = np.flatnonzero(verdicts != NOT_SCORED), np.flatnonzero(verdicts == NOT_SCORED)
    if len(known) > _SAMPLE:
        known = np.sort(generator.choice(known, _SAMPLE, replace=False))
    with threadpool_limits(1):  # the bytes do not depend on the machine
        model = LogisticRegression(C=_INVERSE_STRENGTH, max_iter=500)
        model.fit(np.asarray(embeddings)[known], verdicts[known] == POSITIVE)
        probability = model.predict_proba(np.asarray(embeddings)[rows])[:, 1]
    weight = probability * (1 - probability) + 1e-9
    return generator.choice(rows, count, replace=False, p=weight / weight.sum())
