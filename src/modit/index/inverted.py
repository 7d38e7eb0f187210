"""Inverted-file kinds: training, search, and the number of lists to visit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import faiss
import numpy as np

from modit.core.errors import InsufficientDataError
from modit.index.config import IndexConfig, Kind
from modit.index.exact import exact_search
from modit.index.memory import TRAIN_POINTS, pq_parts, training_items

_LEAST_ITEMS = 39 * 256  # what 256 centroids of a sub-quantiser need


class Calibration(NamedTuple):
    """What the calibration measured.

    Attributes:
        nprobe: lists to visit.
        recall: share of the exact top-k that came back at that nprobe.
        reached: whether recall met the target within the allowed share of lists.
    """

    nprobe: int
    recall: float
    reached: bool


def train_inverted(embeddings: np.ndarray, kind: Kind, config: IndexConfig) -> faiss.IndexIVF:
    """Trains an inverted-file index without filling it; same input, seed and threads give the same bytes.

    Args:
        embeddings: float32 [N, d], unit length.
        kind: "ivf", "ivf_sq8" or "ivf_pq".
        config: `nlist`, `threads` and `seed` are used.

    Raises:
        InsufficientDataError: fewer items than the quantiser needs to be trained.
    """
    items, dimension = embeddings.shape
    if kind == "ivf_pq" and items < _LEAST_ITEMS:
        raise InsufficientDataError(
            f"index of kind {kind} needs at least {_LEAST_ITEMS:,} items to train; there are {items:,}"
        )
    nlist = config.lists_for(items)
    index = _untrained(kind, dimension, nlist)
    index.cp.seed, index.cp.spherical, index.cp.max_points_per_centroid = config.seed + 1, True, TRAIN_POINTS
    with _threads(config.threads):
        index.train(_sample(embeddings, training_items(nlist), config.seed))
    return index


def filled(trained: faiss.IndexIVF, embeddings: np.ndarray, config: IndexConfig, rows: range) -> faiss.IndexIVF:
    """A copy of a trained index with some rows in it, under their numbers.

    Args:
        trained: by `train_inverted`.
        embeddings: float32 [N, d].
        config: `threads` is used.
        rows: which of the embeddings to add.
    """
    index = faiss.clone_index(trained)
    with _threads(config.threads):
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


def calibrate(embeddings: np.ndarray, index: faiss.IndexIVF, config: IndexConfig) -> Calibration:
    """Finds the least nprobe that meets the recall target on sampled items, each looking for its neighbours.

    Recall counts a returned item as right when it scores at least as much as the exact k-th: of equal items
    either is right. The item itself is not counted. Lists are doubled, then bisected; recall grows with nprobe,
    so this finds the least.
    """
    rows = _sample_rows(len(embeddings), config.calibration_queries, config.seed)
    queries = np.ascontiguousarray(embeddings[rows], np.float32)
    k = min(config.calibration_k, len(embeddings) - 1)
    exact, _ = exact_search(np.ascontiguousarray(embeddings, np.float32), queries, k + 1)
    most = max(1, int(config.max_probe_share * index.nlist))

    def recall(nprobe: int) -> float:
        _, found = search_inverted(index, queries, k + 1, nprobe, None)
        scores = np.einsum("bkd,bd->bk", embeddings[np.maximum(found, 0)], queries)
        right = (scores >= exact[:, -1:] - 1e-5) & (found >= 0) & (found != rows[:, None])
        return float(np.minimum(right.sum(1), k).mean() / k) if k else 1.0

    nprobe = _least(most, lambda probes: recall(probes) >= config.recall_target)
    measured = recall(nprobe)
    return Calibration(nprobe, measured, measured >= config.recall_target)


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
    quantizer = faiss.IndexFlatIP(dimension)
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "ivf":
        index = faiss.IndexIVFFlat(quantizer, dimension, nlist, metric)
    elif kind == "ivf_sq8":
        index = faiss.IndexIVFScalarQuantizer(quantizer, dimension, nlist, faiss.ScalarQuantizer.QT_8bit, metric)
    else:
        index = faiss.IndexIVFPQ(quantizer, dimension, nlist, pq_parts(dimension), 8, metric)
        index.pq.cp.seed = 1
    # The index owns its quantiser now; without this Python would free it.
    index.own_fields = True
    quantizer.this.disown()
    return index


def _sample_rows(items: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(items, min(items, count), replace=False))


def _sample(embeddings: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.ascontiguousarray(embeddings[_sample_rows(len(embeddings), count, seed)], np.float32)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
