"""The item index: one object over the exact and the inverted-file kinds."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from modit.core.errors import ContractError, MemoryBudgetError
from modit.index import storage
from modit.index.exact import order
from modit.index.inverted import calibrate, filled, search_inverted, train_inverted
from modit.index.memory import require_memory
from modit.index.params import IndexParams, Kind
from modit.index.parts import FlatSearch, map_flat, map_inverted, write_parts
from modit.index.searchable import Exclusions, checked_queries, padded_exclusions
from modit.index.storage import Content, IndexMeta, TopK

_logger = logging.getLogger(__name__)


class ItemIndex:
    """An immutable index over a catalogue. Build it with `build` or `load`.

    Attributes:
        item_ids: the caller's ids, unicode [N]; row r of the index is item `item_ids[r]`.
        meta: kind, reason of the choice, nprobe, recall and what else a reader of the artifact wants to know.
    """

    def __init__(
        self,
        content: Content,
        item_ids: np.ndarray,
        meta: IndexMeta,
        narrow_copy: bool = False,
    ) -> None:
        self._content, self.item_ids, self.meta = content, item_ids, meta
        self._temporary: tempfile.TemporaryDirectory[str] | None = None  # goes with the index
        whole = isinstance(content, faiss.Index)
        if meta.kind == "flat":
            self._searched = FlatSearch([content] if whole else map_flat(content), narrow_copy and whole).search
        else:
            self._searched = partial(_search_inverted, content if whole else map_inverted(content), meta.nprobe)

    @classmethod
    def build(
        cls,
        embeddings: np.ndarray,
        item_ids: np.ndarray,
        params: IndexParams,
        seed: int = 0,
        scratch: Path | None = None,
    ) -> ItemIndex:
        """Builds the kind that the configuration or the size calls for, in as many shards.

        An inverted file that misses its recall target gives way to the exact kind, with the reason in `meta.reason`.

        Args:
            embeddings: float32 [N, d], unit length.
            item_ids: the caller's ids [N], unique.
            params: section `stage_index`.
            seed: of the training sample, of k-means and of the calibration queries.
            scratch: where the files of shards are made, and must stay; a folder that goes with the index if None.

        Raises:
            ContractError: shapes differ, an embedding is not of unit length, or an id occurs twice.
            MemoryBudgetError: the kind does not fit the memory budget.
        """
        _check_catalogue(embeddings, item_ids)
        if scratch is not None:
            content, meta = _build(embeddings, params, seed, scratch)
            return cls(content, np.asarray(item_ids, dtype=str), meta)
        temporary = tempfile.TemporaryDirectory(prefix="modit-index-")
        index = cls.build(embeddings, item_ids, params, seed, Path(temporary.name))
        index._temporary = temporary
        return index

    def __len__(self) -> int:
        return self.meta.items

    @cached_property
    def digest(self) -> str:
        """sha256 over the serialised index, its search settings and the ids."""
        return storage.digest(self._content, self.item_ids, self.meta)

    @property
    def kind(self) -> Kind:
        """The kind that was built."""
        return self.meta.kind

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        exclude: Exclusions = None,
    ) -> TopK:
        """Finds the k items of greatest inner product for each query.

        Args:
            queries: float32 [B, d], finite.
            k: length of the lists, >= 1.
            allowed: bool [N]; only these rows are returned. Of many queries the exact kind searches a copy of the
                rows, kept until another mask comes: one thread at a time. The inverted kinds look into all lists
                when the probed ones hold fewer than k of them.
            exclude: rows never returned, per query: int [B, m] padded with -1, or B arrays. Searched for k + m
                and dropped.

        Raises:
            ContractError: a shape is wrong or a query is not finite.
        """
        queries = checked_queries(queries, k, allowed, len(self), self.meta.dimension)
        unwanted = padded_exclusions(exclude, len(queries))
        scores, rows = self._searched(queries, k + unwanted.shape[1], allowed)
        result = TopK(*_drop(scores, rows, unwanted, k))
        if result.missing:
            _logger.warning(
                "%d of %d places of the lists are empty (kind %s)", result.missing, result.rows.size, self.kind
            )
        return result

    def save(self, folder: Path) -> None:
        """Writes the index, the ids, the meta data and canary queries with their answers into an existing folder."""
        canaries = storage.canaries(self.search, self.meta)
        storage.save(folder, self._content, self.item_ids, self.meta, self.digest, canaries)

    @classmethod
    def load(
        cls,
        folder: Path,
        expected_digest: str | None = None,
        narrow_copy: bool = False,
    ) -> ItemIndex:
        """Reads what `save` wrote, checks the digest and asks the canary queries.

        Args:
            folder: where `save` wrote.
            expected_digest: the digest that the caller pinned; None accepts any sound index.
            narrow_copy: an exact index in one file keeps a copy in fewer bits (`modit.index.narrow`), with which it
                answers few queries faster, and takes a quarter or half as much memory again. The answers are the same.

        Raises:
            ArtifactError: a file is missing or damaged, the digest is not the expected one, or a canary answers
                differently.
        """
        files, item_ids, meta, digest = storage.load(folder, expected_digest)
        loaded = cls(faiss.read_index(str(files[0])) if len(files) == 1 else files, item_ids, meta, narrow_copy)
        loaded.__dict__["digest"] = digest  # just verified; saves hashing again
        storage.verify_canaries(loaded.search, meta, folder)
        return loaded


def _build(embeddings: np.ndarray, params: IndexParams, seed: int, folder: Path) -> tuple[Content, IndexMeta]:
    items, dimension = embeddings.shape
    kind = params.kind_by_size(items)
    shards, needed = require_memory(kind, items, dimension, params)
    facts: dict[str, Any] = {"items": items, "dimension": dimension, "requested_kind": params.kind}
    facts |= {"estimated_bytes": needed, "shards": shards}
    if kind == "flat":
        return _made(partial(_flat, embeddings), items, shards, folder), IndexMeta("flat", "exact", **facts)
    trained = train_inverted(embeddings, kind, params, seed)
    content = _made(partial(filled, trained, embeddings, params.threads), items, shards, folder)
    index = content if isinstance(content, faiss.Index) else map_inverted(content)
    measured = calibrate(embeddings, index, params, seed)
    found = f"recall@{params.calibration_k} {measured.recall:.4f} at nprobe {measured.nprobe} of {index.nlist}"
    if measured.reached:
        index.nprobe = measured.nprobe
        facts |= {"nprobe": measured.nprobe, "nlist": index.nlist, "recall": measured.recall}
        return content, IndexMeta(kind, f"{found} meets the target {params.recall_target}", **facts)
    limit = f"at most {params.max_probe_share:.0%} of the lists"
    reason = f"{kind} gave way to flat: {found}, {limit}, misses {params.recall_target}"
    _logger.warning(reason)
    del index, content
    try:
        shards, needed = require_memory("flat", items, dimension, params)
    except MemoryBudgetError as error:
        hint = "Lower recall_target or raise max_probe_share, nlist or the budget"
        raise MemoryBudgetError(f"{reason}; and {error}. {hint}") from error
    facts |= {"estimated_bytes": needed, "shards": shards}
    return _made(partial(_flat, embeddings), items, shards, folder), IndexMeta("flat", reason, **facts)


def _made(make: Callable[[range], faiss.Index], items: int, shards: int, folder: Path) -> Content:
    return make(range(items)) if shards == 1 else write_parts(make, items, shards, folder)


def _flat(embeddings: np.ndarray, rows: range) -> faiss.Index:
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(np.ascontiguousarray(embeddings[rows.start : rows.stop], np.float32))
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


def _search_inverted(
    index: faiss.IndexIVF, nprobe: int, queries: np.ndarray, k: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = search_inverted(index, queries, k, nprobe, allowed)
    if allowed is not None and nprobe < index.nlist and (rows[:, min(k, int(allowed.sum())) - 1] < 0).any():
        scores, rows = search_inverted(index, queries, k, index.nlist, allowed)
    return order(np.where(rows < 0, -np.inf, scores).astype(np.float32), rows)
