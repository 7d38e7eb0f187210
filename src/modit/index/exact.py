"""Exact top-k inner products at nearly the speed of the matrix product.

Why not faiss's Flat search, and what was measured: docs/adr/0010-index.md. Here the scores of a block of items are
reduced to one maximum per group of consecutive items while they are still in the cache. The k groups with the
greatest maxima hold the k best items: an item outside them is beaten by k group maxima. Only those groups are scored
again.

Returned scores are *canonical*: the dot product of one row and one query, always summed in the same order, so the
same pair has the same score in any batch and under any mask; equal scores are ordered by row.

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
_SLACK = 4  # candidates beyond k: they show whether rounding could have changed the set
_BLOCK_BYTES = 128 * 2**20
_RESCORE_BYTES = 8 * 2**20  # near the caches between gather and product, and enough for every thread


def exact_search(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k greatest inner products of each query.

    Args:
        vectors: float32 [N, d], C-contiguous.
        queries: float32 [B, d].
        k: length of the lists, >= 1.

    Returns:
        scores float32 [B, k], descending, and rows int64 [B, k], ties by row; -inf and -1 beyond the N-th.
    """
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    found = min(k, len(vectors))
    if found == 0 or len(queries) == 0:
        return scores, rows
    items, wanted = _tensor(vectors), _tensor(np.ascontiguousarray(queries, np.float32))
    step = at_once(_query_block(len(items), len(wanted), found))
    buffers = _Buffers()
    with torch.inference_mode(), _full_precision():
        for start in range(0, len(wanted), step):
            block = slice(start, start + step)
            best, where = _search_block(items, wanted[block], found, buffers)
            scores[block, :found], rows[block, :found] = best.numpy(), where.numpy()
    return scores, rows


def order(scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts each list by score, descending, and equal scores by row."""
    by = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, by, 1), np.take_along_axis(rows, by, 1)


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


def _search_block(
    items: torch.Tensor, queries: torch.Tensor, k: int, buffers: _Buffers
) -> tuple[torch.Tensor, torch.Tensor]:
    count = min(len(items), k + _SLACK)
    approximate, candidates = _candidates(items, queries, count, buffers)
    scores, rows = _ordered(_canonical(items, queries, candidates), candidates)
    if count < len(items):
        # What was left out scores at most the least candidate, give or take the rounding of two sums of d products.
        unsure = scores[:, k - 1] <= approximate.amin(1) + 2 * _rounding(queries)
        for query in unsure.nonzero().flatten().tolist():
            scores[query, :k], rows[query, :k] = _settle(items, queries[query], k, scores[query, k - 1])
    return scores[:, :k], rows[:, :k]


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


def _settle(items: torch.Tensor, query: torch.Tensor, k: int, floor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decides a list whose end is tied within rounding: canonical scores of everything that could belong to it."""
    query = query[None]
    near = ((query @ items.T)[0] >= floor - 2 * _rounding(query)).nonzero().flatten()
    scores = torch.cat([_canonical(items, query, part[None])[0] for part in near.split(2**18)])
    scores, rows = _ordered(scores[None], near[None])
    return scores[0, :k], rows[0, :k]


def _canonical(items: torch.Tensor, queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return (items[rows] * queries[:, None, :]).sum(dim=2)


def _ordered(scores: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows, by_row = rows.sort(dim=1)
    scores, by_score = scores.gather(1, by_row).sort(dim=1, descending=True, stable=True)
    return scores, rows.gather(1, by_score)


def _rounding(queries: torch.Tensor) -> torch.Tensor:
    # Sums of d float32 products of unit vectors differ by about sqrt(d) half-units (Higham and Mary, 2019);
    # 4 is the margin.
    return 4 * math.sqrt(queries.shape[1]) * 2.0**-24 * queries.norm(dim=1)


def _group_size(items: int) -> int:
    """16 up to a million items, then growing with them, so that the maxima of a query block stay near 128 MiB."""
    return min(256, 16 << max(0, math.ceil(math.log2(items / 1_048_576))))


def _by_groups(items: int, queries: int, count: int) -> bool:
    """Whether groups pay; else all scores of a block are held at once.

    With fewer than 16 groups for each that is taken, scoring the members again costs more than the sorting it saves.
    """
    return queries >= 16 and items // _group_size(items) >= 16 * count


def _query_block(items: int, queries: int, k: int) -> int:
    if items >= _LARGE and _by_groups(items, queries, k + _SLACK):
        return _QUERY_BLOCK
    return min(_QUERY_BLOCK, max(1, _BLOCK_BYTES // (4 * items)))


def _tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # A read-only memory map is never written here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))


@contextmanager
def _full_precision() -> Iterator[None]:
    """Training may allow bf16 inside float32 products; exact search must not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
