"""Memory that an index needs, estimated before it is built."""

from __future__ import annotations

import os

from modit.core.errors import MemoryBudgetError
from modit.index.params import KINDS, MOST_SHARDS, IndexParams, Kind

_WORKSPACE = 384 * 2**20  # scores of a block of queries and maxima of its groups
_ID_BYTES = 64  # a caller's id as fixed-width unicode: 16 letters
TRAIN_POINTS = 64  # training points to a list; k-means costs in proportion to them
_GROWTH = 2  # inverted lists double when they are full


def training_items(nlist: int) -> int:
    """The number of items that an inverted file is trained on."""
    return TRAIN_POINTS * max(nlist, 256)


def estimate_memory(kind: Kind, items: int, dimension: int, nlist: int = 0, shards: int = 1) -> int:
    """Estimates the peak bytes of building and searching, without files that are mapped.

    The caller's embeddings are usually mapped, and so are the vectors of an index in several shards: one shard is in
    memory at a time, while it is built or while the allowed rows of an exact index are copied.

    Args:
        kind: One of `KINDS`.
        items: Number of items N.
        dimension: Width d.
        nlist: Number of inverted lists; unused by "flat".
        shards: Number of files.
    """
    held, ids = -(-items // shards), items * _ID_BYTES
    vectors = held * (dimension if kind == "ivf_sq8" else 4 * dimension)
    if kind == "flat":  # a mask needs a copy of the allowed rows
        return 2 * vectors + ids + _WORKSPACE
    training = 4 * dimension * (min(items, training_items(nlist)) + nlist)
    return _GROWTH * (vectors + held * 8) + ids + training + _WORKSPACE


def require_memory(kind: Kind, items: int, dimension: int, params: IndexParams) -> tuple[int, int]:
    """Refuses an index that does not fit the configured budget, or 80 % of the machine's memory.

    Returns:
        The number of shards, chosen where the configuration leaves it open; and the estimate in bytes.

    Raises:
        MemoryBudgetError: Names the need, the budget, what would fit, and how many items this kind holds.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    budget, nlist = params.memory_budget_bytes or int(0.8 * machine), params.lists_for(items)
    least = _least_shards(kind, items, dimension, nlist, budget)
    shards = min(params.shards, items) or least or 1
    needed = estimate_memory(kind, items, dimension, nlist, shards)
    if needed <= budget:
        return shards, needed
    totals = {other: estimate_memory(other, items, dimension, nlist, shards) for other in KINDS}
    fitting = [f"{other} ({total:,} bytes)" for other, total in totals.items() if total <= budget]
    fitting += [f"{kind} in {least} shards"] if least else []
    raise MemoryBudgetError(
        f"index of kind {kind} over {items:,} items x {dimension} needs {needed:,} bytes; "
        f"stage_index.memory_budget_bytes allows {budget:,}. Would fit: {', '.join(fitting) or 'no kind'}; "
        f"kind {kind} fits up to about {_items_that_fit(kind, dimension, nlist, budget):,} items"
    )


def _least_shards(kind: Kind, items: int, dimension: int, nlist: int, budget: int) -> int:
    """The least number of shards that fits the budget; 0 where none does."""
    most = min(items, MOST_SHARDS)
    fits = (estimate_memory(kind, items, dimension, nlist, shards) <= budget for shards in range(1, most + 1))
    return next((shards for shards, enough in enumerate(fits, start=1) if enough), 0)


def _items_that_fit(kind: Kind, dimension: int, nlist: int, budget: int) -> int:
    per_item = (estimate_memory(kind, 2**20, dimension) - estimate_memory(kind, 0, dimension)) / 2**20
    return max(0, int((budget - estimate_memory(kind, 0, dimension, nlist)) / per_item))
