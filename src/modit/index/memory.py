"""Memory that an index needs, estimated before it is built."""

from __future__ import annotations

import os
from dataclasses import dataclass

from modit.core.errors import MemoryBudgetError
from modit.index.params import KINDS, MOST_SHARDS, IndexParams, Kind

_WORKSPACE = 384 * 2**20  # scores of a block of queries and maxima of its groups
_ID_BYTES = 64  # a caller's id as fixed-width unicode: 16 letters
TRAIN_POINTS = 64  # training points to a list; k-means costs in proportion to them
_GROWTH = 2  # inverted lists double when they are full


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes of building and searching an index.

    Attributes:
        vectors: the stored vectors or codes, with the room that growing lists take.
        ids: the caller's ids and the row numbers.
        training: training sample and centroids.
        search: workspace of a search, and for "flat" the copy of the allowed rows that a mask needs.
    """

    vectors: int
    ids: int
    training: int
    search: int

    @property
    def total(self) -> int:
        """Sum of the parts, in bytes."""
        return self.vectors + self.ids + self.training + self.search


def code_bytes(kind: Kind, dimension: int) -> int:
    """The bytes that one vector takes in an index of this kind."""
    return dimension if kind == "ivf_sq8" else 4 * dimension


def training_items(nlist: int) -> int:
    """The number of items that an inverted file is trained on."""
    return TRAIN_POINTS * max(nlist, 256)


def estimate_memory(kind: Kind, items: int, dimension: int, nlist: int = 0, shards: int = 1) -> MemoryEstimate:
    """Estimates the peak memory of building and searching, without files that are mapped.

    The caller's embeddings are usually mapped, and so are the vectors of an index in several shards: one shard is in
    memory at a time, while it is built or while the allowed rows of an exact index are copied.

    Args:
        kind: one of `KINDS`.
        items: number of items N.
        dimension: width d.
        nlist: number of inverted lists; unused by "flat".
        shards: number of files.
    """
    held = -(-items // shards)
    stored = held * code_bytes(kind, dimension)
    if kind == "flat":
        return MemoryEstimate(stored, items * _ID_BYTES, 0, stored + _WORKSPACE)
    training = 4 * dimension * (min(items, training_items(nlist)) + nlist)
    return MemoryEstimate(_GROWTH * stored, items * _ID_BYTES + held * _GROWTH * 8, training, _WORKSPACE)


def memory_budget(params: IndexParams) -> int:
    """The configured budget, or 80% of the machine's memory, in bytes."""
    if params.memory_budget_bytes:
        return params.memory_budget_bytes
    return int(0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def require_memory(kind: Kind, items: int, dimension: int, params: IndexParams) -> tuple[int, MemoryEstimate]:
    """Refuses an index that does not fit the budget.

    Returns:
        The number of shards, chosen where the configuration leaves it open; and the estimate.

    Raises:
        MemoryBudgetError: names the need, the budget, what would fit, and how many items this kind holds.
    """
    budget, nlist = memory_budget(params), params.lists_for(items)
    least = _least_shards(kind, items, dimension, nlist, budget)
    shards = min(params.shards, items) or least or 1
    estimate = estimate_memory(kind, items, dimension, nlist, shards)
    if estimate.total <= budget:
        return shards, estimate
    totals = {other: estimate_memory(other, items, dimension, nlist, shards).total for other in KINDS}
    fitting = [f"{other} ({total:,} bytes)" for other, total in totals.items() if total <= budget]
    fitting += [f"{kind} in {least} shards"] if least else []
    raise MemoryBudgetError(
        f"index of kind {kind} over {items:,} items x {dimension} needs {estimate.total:,} bytes; "
        f"stage_index.memory_budget_bytes allows {budget:,}. Would fit: {', '.join(fitting) or 'no kind'}; "
        f"kind {kind} fits up to about {_items_that_fit(kind, dimension, nlist, budget):,} items"
    )


def _least_shards(kind: Kind, items: int, dimension: int, nlist: int, budget: int) -> int:
    """The least number of shards that fits the budget; 0 where none does."""
    most = min(items, MOST_SHARDS)
    fits = (estimate_memory(kind, items, dimension, nlist, shards).total <= budget for shards in range(1, most + 1))
    return next((shards for shards, enough in enumerate(fits, start=1) if enough), 0)


def _items_that_fit(kind: Kind, dimension: int, nlist: int, budget: int) -> int:
    fixed = estimate_memory(kind, 0, dimension, nlist).total
    per_item = (estimate_memory(kind, 2**20, dimension, 0).total - estimate_memory(kind, 0, dimension, 0).total) / 2**20
    return max(0, int((budget - fixed) / per_item))
