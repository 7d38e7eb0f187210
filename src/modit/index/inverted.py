"""Inverted-file kinds: training, search, and calibration of the number of lists to visit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import faiss
import numpy as np

from modit.core.seeds import derived_seed, stream
from modit.data.vectors import unit
from modit.index.exact import exact_search
from modit.index.memory import TRAIN_POINTS, training_items
from modit.index.params import IndexParams, Kind

# What a query of the calibration is made of: the mean of some of an item's nearest items, and noise. Means of seeds and
# generated queries lie off the items, where more lists must be visited than from an item itself.
_NEIGHBOURS, _AVERAGED = 32, 8
_NOISE = 0.5  # length of the noise beside the unit mean: a cosine of 0.89 to it


class Calibration(NamedTuple):
    """How many lists to visit, the share of the exact top-k that comes back then, and whether it meets the target."""

    nprobe: int
    recall: float
    reached: bool


def train_inverted(embeddings: np.ndarray, kind: Kind, params: IndexParams, seed: int) -> faiss.IndexIVF:
    """Trains an inverted-file index without filling it; same input, seed and threads give the same bytes.

    Args:
        embeddings: float32 [N, d], unit length.
        kind: "ivf" or "ivf_sq8".
        params: `nlist` and `threads` are used.
        seed: Of the training sample and of k-means, which have a stream each.
    """
    items, dimension = embeddings.shape
    nlist = params.lists_for(items)
    index = _untrained(kind, dimension, nlist)
    index.cp.seed, index.cp.spherical = derived_seed(seed, "stage_index", "quantiser"), True
    index.cp.max_points_per_centroid = TRAIN_POINTS
    chosen = stream(seed, "stage_index", "training").choice(items, min(items, training_items(nlist)), replace=False)
    with _threads(params.threads):
        index.train(np.ascontiguousarray(embeddings[np.sort(chosen)], np.float32))
    return index


def filled(trained: faiss.IndexIVF, embeddings: np.ndarray, threads: int, rows: range) -> faiss.IndexIVF:
    """Copies a trained index and adds some rows of the embeddings, float32 [N, d], under their numbers."""
    index = faiss.clone_index(trained)
    with _threads(threads):
        vectors = np.ascontiguousarray(embeddings[rows.start : rows.stop], np.float32)
        index.add_with_ids(vectors, np.arange(rows.start, rows.stop))
    return index


def search_inverted(
    index: faiss.IndexIVF, queries: np.ndarray, k: int, nprobe: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Searches `nprobe` lists; scores [B, k] and rows [B, k], -1 where fewer were found; equals in any order."""
    if allowed is None:
        return index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=nprobe))
    bits = np.packbits(allowed, bitorder="little")
    # faiss keeps a bare pointer to the bits: they must outlive the search.
    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
    return index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=nprobe, sel=selector))


def calibrate(embeddings: np.ndarray, index: faiss.IndexIVF, params: IndexParams, seed: int) -> Calibration:
    """Finds the least nprobe at which every kind of query that will come meets the recall target.

    Labels ask with items, callers with means of seeds and with generated queries, which lie off the items. Which of
    them needs more lists depends on the catalogue, so the recall that counts is that of the worse kind. A returned item
    is right when it scores at least as much as the exact k-th: of equal items either is right. The item that is asked
    with is not counted. Lists are doubled, then bisected; recall grows with nprobe, so this finds the least.

    Args:
        embeddings: float32 [N, d], unit length.
        index: Filled.
        params: The fields of the calibration are used.
        seed: Of the queries.
    """
    vectors = np.ascontiguousarray(embeddings, np.float32)
    generator = stream(seed, "stage_index", "calibration")
    rows = np.sort(generator.choice(len(vectors), min(params.calibration_queries, len(vectors)), replace=False))
    trials = [
        _trial(vectors, vectors[rows], rows, params.calibration_k),
        _trial(vectors, queries_near(vectors, rows, generator), None, params.calibration_k),
    ]
    most = max(1, int(params.max_probe_share * index.nlist))

    def recall(nprobe: int) -> float:
        return min(trial.recall(vectors, index, nprobe) for trial in trials)

    nprobe = _least(most, lambda probes: recall(probes) >= params.recall_target)
    measured = recall(nprobe)
    return Calibration(nprobe, measured, measured >= params.recall_target)


def queries_near(vectors: np.ndarray, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Makes queries like means of seeds and like generated ones: near items, but off them.

    Args:
        vectors: float32 [N, d], unit length.
        rows: Items that the queries shall lie near, [n].
        generator: Chooses neighbours and draws noise.

    Returns:
        Unit float32 [n, d]: the mean of some of the nearest items of each, plus noise.
    """
    near = exact_search(vectors, vectors[rows], min(_NEIGHBOURS, len(vectors)))[1]
    averaged = generator.permuted(near, axis=1)[:, :_AVERAGED]
    noise = unit(generator.standard_normal((len(rows), vectors.shape[1])))
    return unit(unit(vectors[averaged].mean(1)) + _NOISE * noise)


class _Trial(NamedTuple):
    """Queries [n, d], the items that they are themselves [n] or None, how many count, and the exact score of the last.

    The item itself is one more of the list, and does not count.
    """

    queries: np.ndarray
    own: np.ndarray | None
    k: int
    least: np.ndarray

    def recall(self, vectors: np.ndarray, index: faiss.IndexIVF, nprobe: int) -> float:
        if self.k == 0:  # a catalogue of one item
            return 1.0
        _, found = search_inverted(index, self.queries, self.k + (self.own is not None), nprobe, None)
        scores = np.einsum("bkd,bd->bk", vectors[np.maximum(found, 0)], self.queries)
        right = (scores >= self.least - 1e-5) & (found >= 0)
        if self.own is not None:
            right &= found != self.own[:, None]
        return float(np.minimum(right.sum(1), self.k).mean() / self.k)


def _trial(vectors: np.ndarray, queries: np.ndarray, own: np.ndarray | None, k: int) -> _Trial:
    beside = int(own is not None)
    k = min(k, len(vectors) - beside)
    least = exact_search(vectors, queries, k + beside)[0][:, -1:]
    return _Trial(queries, own, k, least)


def _least(most: int, enough: Callable[[int], bool]) -> int:
    """Least number in [1, most] that is enough, or `most` where none is."""
    high = 1
    while high < most and not enough(high):
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _untrained(kind: Kind, dimension: int, nlist: int) -> faiss.IndexIVF:
    quantizer, metric = faiss.IndexFlatIP(dimension), faiss.METRIC_INNER_PRODUCT
    if kind == "ivf":
        index = faiss.IndexIVFFlat(quantizer, dimension, nlist, metric)
    else:
        index = faiss.IndexIVFScalarQuantizer(quantizer, dimension, nlist, faiss.ScalarQuantizer.QT_8bit, metric)
    # The index owns its quantiser now; without this Python would free it.
    index.own_fields = True
    quantizer.this.disown()
    return index


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
