"""How far the two towers see the same text alike: what the consistent index relies on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.towers.encoder import TextTowers


def misalignment(
    towers: TextTowers,
    judged: JudgedQueries,
    part: QueryPart,
    titles: Sequence[str],
    item_view: np.ndarray,
    relevant_min: float,
) -> dict[str, float]:
    """Mean cosines between views of one text, and between a query and its relevant items.

    Args:
        towers: in evaluation mode.
        judged: the queries.
        part: whose queries are looked at.
        titles: of all items.
        item_view: f_i(I) of all items, float32 [N, d].
        relevant_min: least relevance of a relevant item.

    Returns:
        `items`: f_q(I) and f_i(I); `queries`: f_q(Q) and f_i(Q); `relevant`: f_q(Q) and f_i(I+), what training is for;
        `relevant_query_view`: f_q(Q) and f_q(I+), by which lists are probed; `random_query_view`: the same for items
        of other queries, without which the former means nothing.
    """
    chosen = judged.of(part)
    texts = judged.texts[chosen].tolist()
    query_view, own_view = towers.encode(texts, "query"), towers.encode(texts, "item")
    items_by_query = towers.encode(titles, "query")
    is_pair = np.isin(judged.owners, chosen) & (judged.relevance >= relevant_min)
    queries, items = query_view[np.searchsorted(chosen, judged.owners[is_pair])], judged.items[is_pair]
    return {
        "items": _mean_cosine(items_by_query, item_view),
        "queries": _mean_cosine(query_view, own_view),
        "relevant": _mean_cosine(queries, item_view[items]),
        "relevant_query_view": _mean_cosine(queries, items_by_query[items]),
        "random_query_view": _mean_cosine(queries, items_by_query[np.roll(items, len(items) // 2)]),
    }


def _mean_cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.einsum("nd,nd->n", first, second).mean()) if len(first) else 0.0
