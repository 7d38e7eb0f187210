"""Does a catalogue show the regime that the method is for? Averaging seeds keeps the pattern and misses the attribute.

This is a check on data, before any model: it clusters, ranks and retrieves by itself and in the plainest way, so that
an error in the rooms that train and judge cannot hide in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

GROUP, SEEDS, POSITIVE_SHARE = 32, 24, 0.8
_BLOCK = 512


@dataclass(frozen=True)
class Retrieval:
    """Means over cases, shares in [0, 1]: attribute, same pattern, and both, among the K nearest items."""

    attr: float
    same: float
    joint: float


@dataclass(frozen=True)
class Regime:
    """The regime of one domain.

    Attributes:
        share: share of items with the attribute.
        patterns: number of clusters of positives.
        spearman: rank correlation of a ridge prediction with the attribute density around unseen anchors.
        average: retrieval with the mean of the seeds.
        tail: retrieval with the mean of the items of the case that are predicted densest (the oracle).
    """

    share: float
    patterns: int
    spearman: float
    average: Retrieval
    tail: Retrieval


def measure_regime(
    embeddings: np.ndarray, attribute: np.ndarray, cases: int = 90, neighbours: int = 20, seed: int = 0
) -> Regime:
    """Measures averaging against the tail oracle (specification, section 12).

    A case draws 32 items of one pattern, 80% of them positive, and sorts them by predicted density: the first 24 are
    the seeds, the last 8 the tail. Seeds are never counted as results.

    Args:
        embeddings: float32 [N, d], unit length.
        attribute: bool [N].
        cases: number of cases, in turn over the patterns that are large enough.
        neighbours: K.
        seed: of clusters, anchors and cases.
    """
    rng = np.random.default_rng(seed)
    positives = np.flatnonzero(attribute)
    count = int(np.clip(len(positives) // 70, 8, 60))
    centroids = KMeans(count, n_init=1, random_state=seed).fit(embeddings[positives]).cluster_centers_
    labels = np.argmax(embeddings @ centroids.T - (centroids**2).sum(1) / 2, axis=1)
    predicted, spearman = _predict_density(embeddings, attribute, neighbours, rng)
    groups = _draw_groups(labels, attribute, predicted, cases, rng)
    pattern = labels[groups[:, 0]]
    found = []
    for members in (groups[:, :SEEDS], groups[:, SEEDS:]):
        results = _search(embeddings, embeddings[members].mean(axis=1), neighbours, groups[:, :SEEDS])
        same = labels[results] == pattern[:, None]
        has = attribute[results]
        found.append(Retrieval(float(has.mean()), float(same.mean()), float((has & same).mean())))
    return Regime(float(attribute.mean()), count, spearman, *found)


def _draw_groups(
    labels: np.ndarray, attribute: np.ndarray, predicted: np.ndarray, cases: int, rng: np.random.Generator
) -> np.ndarray:
    wanted = round(POSITIVE_SHARE * GROUP)
    pools = [
        (np.flatnonzero((labels == p) & attribute), np.flatnonzero((labels == p) & ~attribute))
        for p in np.unique(labels)
    ]
    pools = [pool for pool in pools if len(pool[0]) >= wanted and len(pool[1]) >= GROUP - wanted]
    groups = np.empty((cases, GROUP), dtype=np.int64)
    for case in range(cases):
        positive, normal = pools[case % len(pools)]
        group = np.concatenate([rng.choice(positive, wanted, False), rng.choice(normal, GROUP - wanted, False)])
        groups[case] = group[np.argsort(predicted[group], kind="stable")]
    return groups


def _predict_density(
    embeddings: np.ndarray, attribute: np.ndarray, neighbours: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    anchors = rng.choice(len(embeddings), min(3_000, len(embeddings)), replace=False)
    density = attribute[_search(embeddings, embeddings[anchors], neighbours, anchors[:, None])].mean(axis=1)
    fitted = len(anchors) * 2 // 3
    seen = embeddings[anchors[:fitted]].astype(np.float64)
    standard = (embeddings - seen.mean(0)) / seen.std(0)
    inputs = standard[anchors[:fitted]]
    target = density[:fitted] - density[:fitted].mean()
    weights = np.linalg.solve(inputs.T @ inputs + 10.0 * np.eye(inputs.shape[1]), inputs.T @ target)
    predicted = standard @ weights
    held_out = anchors[fitted:]
    return predicted, float(np.corrcoef(_ranks(predicted[held_out]), _ranks(density[fitted:]))[0, 1])


def _search(embeddings: np.ndarray, queries: np.ndarray, neighbours: int, excluded: np.ndarray) -> np.ndarray:
    results = []
    for start in range(0, len(queries), _BLOCK):
        similarity = queries[start : start + _BLOCK] @ embeddings.T
        np.put_along_axis(similarity, excluded[start : start + _BLOCK], -np.inf, axis=1)
        results.append(np.argpartition(similarity, -neighbours, axis=1)[:, -neighbours:])
    return np.concatenate(results)


def _ranks(values: np.ndarray) -> np.ndarray:
    # equal values share their mean rank
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
