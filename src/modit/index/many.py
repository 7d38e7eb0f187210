"""Candidates of many queries at once, at nearly the speed of the matrix product.

Why not faiss's Flat search, and what was measured: docs/adr/0010-index.md. Here the scores of a block of items are
reduced to one maximum per group of consecutive items while they are still in the cache. The k groups with the
greatest maxima hold the k best items: an item outside them is beaten by k group maxima. Only those groups are scored
again.

Letters of shapes: B queries, N items, d dimensions, G groups, g items to a group.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from modit.core.memory import at_once

_QUERY_BLOCK = 512
_ITEM_BLOCK = 1024
_LARGE = 32_768  # items from which a whole block of queries is taken at once
_ONEDNN_QUERIES = 64  # with fewer, its copies of the items cost more than it saves
_SUPER = 16  # groups to a supergroup
_BLOCK_BYTES = 128 * 2**20
_RESCORE_BYTES = 8 * 2**20  # near the caches between gather and product, and enough for every thread


def candidates(items: np.ndarray, queries: np.ndarray, count: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """The items of greatest inner product, by sums in any order.

    Args:
        items: float32 [N, d], C-contiguous.
        queries: float32 [B, d], C-contiguous.
        count: how many for each query, at most N.

    Yields:
        A block of queries as a slice, `count` unordered rows for each of its queries, int64 [b, count], and the least
        score among them, float32 [b]: no other item exceeds it but by rounding.
    """
    table, wanted, buffers = _tensor(items), _tensor(queries), _Buffers()
    step = at_once(_query_block(len(items), len(queries), count))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        with torch.inference_mode(), _full_precision():
            scores, rows = _candidates(table, wanted[block], count, buffers)
        yield block, rows.contiguous().numpy(), scores.amin(1).numpy()


class _Buffers:
    """Memory for scores and maxima of a block, used again for the next: fresh pages cost a tenth of the search."""

    def __init__(self) -> None:
        self._held: dict[str, torch.Tensor] = {}

    def take(self, name: str, rows: int, columns: int) -> torch.Tensor:
        held = self._held.get(name)
        if held is None or held.numel() < rows * columns:
            held = self._held[name] = torch.empty(rows * columns)
        return held[: rows * columns].view(rows, columns)


class _Product:
    """Scores of blocks of items, [n, B]; valid until the next block. By oneDNN where torch has it.

    oneDNN uses the widest vectors of any processor; MKL, behind `torch.mm`, ran at half its rate on an AMD EPYC.
    """

    def __init__(self, queries: torch.Tensor, buffers: _Buffers) -> None:
        self._onednn = len(queries) >= _ONEDNN_QUERIES and torch.backends.mkldnn.is_available()
        self._queries = queries.to_mkldnn() if self._onednn else queries.T.contiguous()
        self._buffers = buffers

    def __call__(self, items: torch.Tensor) -> torch.Tensor:
        if self._onednn:
            return torch.nn.functional.linear(items.to_mkldnn(), self._queries).to_dense()
        scores = self._buffers.take("scores", len(items), self._queries.shape[1])
        return torch.mm(items, self._queries, out=scores)


def _candidates(
    items: torch.Tensor, queries: torch.Tensor, count: int, buffers: _Buffers
) -> tuple[torch.Tensor, torch.Tensor]:
    size = _group_size(len(items))
    groups = len(items) // size
    if not _by_groups(len(items), len(queries), count):
        return torch.topk(queries @ items.T, count, dim=1, sorted=False)
    chosen = _best_groups(_group_maxima(items, queries, size, groups, buffers), count)
    # Sorted, the gather below reads memory forwards.
    chosen = chosen.sort(dim=1).values
    return _score_groups(items, queries, chosen, size, count)


def _group_maxima(
    items: torch.Tensor, queries: torch.Tensor, size: int, groups: int, buffers: _Buffers
) -> torch.Tensor:
    """Greatest score of each group of `size` consecutive items: [G, B]."""
    maxima = buffers.take("maxima", groups, len(queries))
    product = _Product(queries, buffers)
    for start in range(0, groups * size, _ITEM_BLOCK):
        stop = min(start + _ITEM_BLOCK, groups * size)
        block = product(items[start:stop])
        torch.amax(block.view(-1, size, len(queries)), dim=1, out=maxima[start // size : stop // size])
    return maxima


def _best_groups(maxima: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` groups with the greatest maxima, [B, count]; the same argument once more on groups of groups."""
    groups, queries = maxima.shape
    supers = groups // _SUPER
    if supers < 2 * count:
        return torch.topk(maxima.T.contiguous(), count, dim=1, sorted=False).indices
    top = torch.amax(maxima[: supers * _SUPER].view(supers, _SUPER, queries), dim=1).T.contiguous()
    chosen = torch.topk(top, count, dim=1, sorted=False).indices
    members = (chosen[:, :, None] * _SUPER + torch.arange(_SUPER)).view(queries, -1)
    rest = torch.arange(supers * _SUPER, groups).expand(queries, -1)
    members = torch.cat([members, rest], dim=1)
    flat = members * queries + torch.arange(queries)[:, None]
    values = torch.index_select(maxima.view(-1), 0, flat.view(-1)).view(queries, -1)
    return members.gather(1, torch.topk(values, count, dim=1, sorted=False).indices)


def _score_groups(
    items: torch.Tensor, queries: torch.Tensor, chosen: torch.Tensor, size: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores all items of the chosen groups, and the few after the last whole group: scores and rows [B, count]."""
    groups, dimension = len(items) // size, items.shape[1]
    grouped = items[: groups * size].view(groups, size * dimension)
    tail = torch.arange(groups * size, len(items))
    step = max(1, _RESCORE_BYTES // (4 * dimension * size * chosen.shape[1]))
    scores, rows = [], []
    for start in range(0, len(queries), step):
        query, group = queries[start : start + step], chosen[start : start + step]
        members = grouped[group].view(len(query), -1, dimension)
        inner = torch.bmm(members, query[:, :, None]).squeeze(2)
        values, places = torch.topk(torch.cat([inner, query @ items[tail].T], dim=1), count, dim=1, sorted=False)
        known = (group[:, :, None] * size + torch.arange(size)).view(len(query), -1)
        scores.append(values)
        rows.append(torch.cat([known, tail.expand(len(query), -1)], dim=1).gather(1, places))
    return torch.cat(scores), torch.cat(rows)


def _group_size(items: int) -> int:
    """16 up to a million items, then growing with them, so that the maxima of a query block stay near 128 MiB."""
    return min(256, 16 << max(0, math.ceil(math.log2(items / 1_048_576))))


def _by_groups(items: int, queries: int, count: int) -> bool:
    """Whether groups pay; else all scores of a block are held at once.

    With fewer than 16 groups for each that is taken, scoring the members again costs more than the sorting it saves.
    """
    return queries >= 16 and items // _group_size(items) >= 16 * count


def _query_block(items: int, queries: int, count: int) -> int:
    if items >= _LARGE and _by_groups(items, queries, count):
        return _QUERY_BLOCK
    return min(_QUERY_BLOCK, max(1, _BLOCK_BYTES // (4 * items)))


def _tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # A read-only memory map is never written here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Training may allow bf16 inside float32 products; exact search must not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
