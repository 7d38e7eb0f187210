"""What every index over a catalogue offers, FAISS or an engine of the site, and the checks of what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from modit.core.errors import ContractError
from modit.index.storage import TopK

Exclusions = Sequence[np.ndarray] | np.ndarray | None


class SearchableIndex(Protocol):
    """An index whose rows are those of a catalogue."""

    item_ids: np.ndarray

    def __len__(self) -> int:
        """Number of items."""

    @property
    def digest(self) -> str:
        """sha256 over what decides its answers."""

    @property
    def kind(self) -> str:
        """How it searches, such as `flat` or `pgvector`."""

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, exclude: Exclusions = None
    ) -> TopK:
        """Finds the k items of greatest inner product for each query.

        Args:
            queries: float32 [B, d], finite.
            k: Length of the lists, >= 1.
            allowed: bool [N]; only these rows are returned. None for all.
            exclude: Rows never returned, for each query: int [B, m] padded with -1, or B arrays.

        Raises:
            ContractError: A shape is wrong or a query is not finite.
        """


class RowLookup:
    """Finds the rows of items by their ids."""

    def __init__(self, item_ids: np.ndarray) -> None:
        """Takes the ids of all items, unicode [N]."""
        self._ids = item_ids

    def rows_of(self, item_ids: Sequence[str]) -> np.ndarray:
        """Rows of items, int64 [n]; -1 for an id that is not there."""
        ids, order = self._ids, self._order
        width = ids.dtype.itemsize // 4  # a longer id is not there, and would widen the whole array
        wanted = np.array([each[:width] for each in item_ids], dtype=str)
        rows = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
        # Compared as Python's strings: numpy drops zero characters at the end.
        found = zip(rows.tolist(), ids[rows].tolist(), item_ids, strict=True)
        return np.array([row if known == each else -1 for row, known, each in found], np.int64)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._ids)


def checked_queries(queries: np.ndarray, k: int, allowed: np.ndarray | None, items: int, dimension: int) -> np.ndarray:
    """Checks what an index of `items` vectors of a dimension is asked.

    Returns:
        The queries, float32 [B, d], contiguous.

    Raises:
        ContractError: A shape is wrong or a query is not finite.
    """
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise ContractError(f"queries have shape {queries.shape}; allowed: [B, {dimension}]")
    if k < 1:
        raise ContractError(f"k is {k}; allowed: >= 1")
    if allowed is not None and (allowed.shape != (items,) or allowed.dtype != bool):
        raise ContractError(f"allowed is {allowed.dtype} {allowed.shape}; allowed: bool [{items}]")
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise ContractError(f"{len(bad)} queries are not finite, the first is number {bad[0]}")
    return np.ascontiguousarray(queries, np.float32)


def padded_exclusions(exclude: Exclusions, queries: int) -> np.ndarray:
    """Rows that are never returned, int64 [B, m], padded with -1.

    Raises:
        ContractError: There is not one entry for each query.
    """
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
