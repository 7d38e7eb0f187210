"""The item index: one object over the exact and the inverted-file kinds."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import faiss
import numpy as np

from modit.core.errors import ContractError, MemoryBudgetError
from modit.index import storage
from modit.index.config import IndexConfig, Kind
from modit.index.exact import exact_search, order
from modit.index.gpu import gpu_copy
from modit.index.inverted import build_inverted, calibrate, search_inverted
from modit.index.memory import require_memory
from modit.index.storage import IndexMeta

_logger = logging.getLogger(__name__)
_GPU_LONGEST_LIST = 2048


class SearchResult(NamedTuple):
    """Lists of retrieved items.

    Attributes:
        scores: inner products, float32 [B, k], descending; -inf in empty places.
        rows: catalogue rows, int64 [B, k], equal scores by row; -1 in empty places.
    """

    scores: np.ndarray
    rows: np.ndarray

    @property
    def missing(self) -> int:
        """Number of empty places over all lists."""
        return int((self.rows < 0).sum())


class ItemIndex:
    """An immutable index over a catalogue. Build it with `build` or `load`.

    Attributes:
        item_ids: the caller's ids, unicode [N]; row r of the index is item `item_ids[r]`.
        meta: kind, reason of the choice, nprobe, recall and what else a reader of the artifact wants to know.
    """

    def __init__(
        self, index: faiss.Index, item_ids: np.ndarray, meta: IndexMeta, gpu: faiss.Index | None = None
    ) -> None:
        self._index, self._gpu = index, gpu
        self.item_ids, self.meta = item_ids, meta
        self._allowed: tuple[bytes, np.ndarray, np.ndarray] | None = None

    @classmethod
    def build(cls, embeddings: np.ndarray, item_ids: np.ndarray, config: IndexConfig) -> ItemIndex:
        """Builds the kind that the configuration or the size calls for.

        An inverted file that misses its recall target gives way to the exact kind, with the reason in `meta.reason`.

        Args:
            embeddings: float32 [N, d], unit length.
            item_ids: the caller's ids [N], unique.
            config: parameters.

        Raises:
            ContractError: shapes differ, an embedding is not of unit length, or an id occurs twice.
            MemoryBudgetError: the kind does not fit the memory budget.
        """
        _check_catalogue(embeddings, item_ids)
        index, meta = _build(embeddings, config)
        return cls(index, np.asarray(item_ids, dtype=str), meta, gpu_copy(index, config.use_gpu))

    def __len__(self) -> int:
        return self.meta.items

    @cached_property
    def digest(self) -> str:
        """sha256 over the serialised index, its search settings and the ids."""
        return storage.digest(self._index, self.item_ids, self.meta)

    @property
    def kind(self) -> Kind:
        """The kind that was built."""
        return self.meta.kind

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        exclude: Sequence[np.ndarray] | np.ndarray | None = None,
    ) -> SearchResult:
        """Finds the k items of greatest inner product for each query.

        Args:
            queries: float32 [B, d], finite.
            k: length of the lists, >= 1.
            allowed: bool [N]; only these rows are returned. The exact kind searches a copy of them, kept until
                another mask comes.
            exclude: rows never returned, per query: int [B, m] padded with -1, or B arrays. Searched for k + m
                and dropped.

        Raises:
            ContractError: a shape is wrong or a query is not finite.
        """
        queries = self._check_queries(queries, k, allowed)
        unwanted = _padded(exclude, len(queries))
        scores, rows = self._search(queries, k + unwanted.shape[1], allowed)
        result = SearchResult(*_drop(scores, rows, unwanted, k))
        if result.missing:
            _logger.warning(
                "%d of %d places of the lists are empty (kind %s)", result.missing, result.rows.size, self.kind
            )
        return result

    def save(self, folder: Path) -> None:
        """Writes the index, the ids, the meta data and canary queries with their answers into an existing folder."""
        storage.save(folder, self._index, self.item_ids, self.meta, self.digest, storage.canaries(self))

    @classmethod
    def load(
        cls, folder: Path, expected_digest: str | None = None, use_gpu: bool | Literal["auto"] = False
    ) -> ItemIndex:
        """Reads what `save` wrote, checks the digest and asks the canary queries.

        Args:
            folder: where `save` wrote.
            expected_digest: the digest that the caller pinned; None accepts any sound index.
            use_gpu: as in `IndexConfig`.

        Raises:
            ArtifactError: a file is missing or damaged, the digest is not the expected one, or a canary answers
                differently.
        """
        index, item_ids, meta, digest = storage.load(folder, expected_digest)
        loaded = cls(index, item_ids, meta, gpu_copy(index, use_gpu))
        loaded.__dict__["digest"] = digest  # just verified; saves hashing again
        storage.verify_canaries(loaded, folder)
        return loaded

    @property
    def _vectors(self) -> np.ndarray:
        count, dimension = self._index.ntotal, self._index.d
        return faiss.rev_swig_ptr(self._index.get_xb(), count * dimension).reshape(count, dimension)

    def _search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if self._gpu is not None and allowed is None and k <= _GPU_LONGEST_LIST:
            # The clone took over the calibrated nprobe from the index.
            return order(*self._gpu.search(queries, k))
        if self.kind != "flat":
            scores, rows = search_inverted(self._index, queries, k, self.meta.nprobe, allowed)
            return order(np.where(rows < 0, -np.inf, scores).astype(np.float32), rows)
        if allowed is None:
            return exact_search(self._vectors, queries, k)
        kept, vectors = self._allowed_rows(allowed)
        scores, places = exact_search(vectors, queries, k)
        # Rows ascend in the copy, so ties by place are ties by row. The added -1 is what place -1 reads.
        return scores, np.append(kept, -1)[places]

    def _allowed_rows(self, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = hashlib.sha256(np.packbits(allowed).data).digest()
        if self._allowed is None or self._allowed[0] != key:
            self._allowed = None  # free the old copy before the new one is made
            rows = np.flatnonzero(allowed)
            self._allowed = (key, rows, self._vectors[rows])
        return self._allowed[1], self._allowed[2]

    def _check_queries(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> np.ndarray:
        dimension = self._index.d
        if queries.ndim != 2 or queries.shape[1] != dimension:
            raise ContractError(f"queries have shape {queries.shape}; allowed: [B, {dimension}]")
        if k < 1:
            raise ContractError(f"k is {k}; allowed: >= 1")
        if allowed is not None and (allowed.shape != (len(self),) or allowed.dtype != bool):
            raise ContractError(f"allowed is {allowed.dtype} {allowed.shape}; allowed: bool [{len(self)}]")
        bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
        if len(bad):
            raise ContractError(f"{len(bad)} queries are not finite, the first is number {bad[0]}")
        return np.ascontiguousarray(queries, np.float32)


def _build(embeddings: np.ndarray, config: IndexConfig) -> tuple[faiss.Index, IndexMeta]:
    items, dimension = embeddings.shape
    kind = config.kind_by_size(items)
    estimate = require_memory(kind, items, dimension, config)
    facts = {"items": items, "dimension": dimension, "requested_kind": config.kind, "estimated_bytes": estimate.total}
    if kind == "flat":
        return _flat(embeddings), IndexMeta(kind="flat", reason="exact", **facts)
    index = build_inverted(embeddings, kind, config)
    measured = calibrate(embeddings, index, config)
    found = f"recall@{config.calibration_k} {measured.recall:.4f} at nprobe {measured.nprobe} of {index.nlist}"
    if measured.reached:
        index.nprobe = measured.nprobe
        facts |= {"nprobe": measured.nprobe, "nlist": index.nlist, "recall": measured.recall}
        return index, IndexMeta(kind=kind, reason=f"{found} meets the target {config.recall_target}", **facts)
    limit = f"at most {config.max_probe_share:.0%} of the lists"
    reason = f"{kind} gave way to flat: {found}, {limit}, misses {config.recall_target}"
    _logger.warning(reason)
    del index
    facts |= {"estimated_bytes": _require_flat(items, dimension, config, reason)}
    return _flat(embeddings), IndexMeta(kind="flat", reason=reason, **facts)


def _require_flat(items: int, dimension: int, config: IndexConfig, reason: str) -> int:
    try:
        return require_memory("flat", items, dimension, config).total
    except MemoryBudgetError as error:
        raise MemoryBudgetError(
            f"{reason}; and {error}. Lower recall_target or raise max_probe_share, nlist or the budget"
        ) from error


def _flat(embeddings: np.ndarray) -> faiss.Index:
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(np.ascontiguousarray(embeddings, np.float32))
    return index


def _check_catalogue(embeddings: np.ndarray, item_ids: np.ndarray) -> None:
    if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) != len(item_ids):
        raise ContractError(
            f"embeddings {embeddings.shape} and item_ids {np.shape(item_ids)}; allowed: [N, d] and [N], N >= 1"
        )
    for start in range(0, len(embeddings), 2**18):
        norms = np.linalg.norm(embeddings[start : start + 2**18], axis=1)
        bad = np.flatnonzero(~(np.abs(norms - 1) < 1e-3))
        if len(bad):
            raise ContractError(
                f"embedding of row {start + bad[0]} has length {norms[bad[0]]}; allowed: 1 within 0.001"
            )
    if len(np.unique(item_ids)) != len(item_ids):
        raise ContractError("item_ids are not unique; allowed: each id once")


def _padded(exclude: Sequence[np.ndarray] | np.ndarray | None, queries: int) -> np.ndarray:
    if exclude is None:
        return np.empty((queries, 0), np.int64)
    if len(exclude) != queries:
        raise ContractError(f"exclude has {len(exclude)} entries; allowed: one for each of the {queries} queries")
    if isinstance(exclude, np.ndarray) and exclude.ndim == 2:
        return exclude.astype(np.int64)
    padded = np.full((queries, max((len(rows) for rows in exclude), default=0)), -1, np.int64)
    for place, rows in zip(padded, exclude, strict=True):
        place[: len(rows)] = rows
    return padded


def _drop(scores: np.ndarray, rows: np.ndarray, unwanted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Takes the unwanted rows out of each list and cuts it to k."""
    if unwanted.shape[1] == 0:
        return scores, rows
    gone = np.zeros(rows.shape, bool)
    for one in unwanted.T:  # a few dozen at most; `np.isin` over all lists at once would sort millions of numbers
        gone |= rows == one[:, None]
    gone &= rows >= 0
    kept = np.argsort(gone, axis=1, kind="stable")[:, :k]
    empty = np.take_along_axis(gone, kept, 1)
    scores, rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1)
    return np.where(empty, np.float32(-np.inf), scores), np.where(empty, -1, rows)
