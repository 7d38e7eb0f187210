"""From a catalogue to the IDs of its items, and what they look like in figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from modit.data.catalog import Sequences
from modit.data.sessions import head_items
from modit.index.item_codes import ItemCodes
from modit.index.quantizer import Quantizer
from modit.semantic_ids.params import TokenizerParams
from modit.semantic_ids.quantizers import fit_quantizer, popular_items
from modit.semantic_ids.session_vectors import joined_vectors


def tokenize(
    vectors: np.ndarray,
    counts: np.ndarray,
    ties: np.ndarray,
    params: TokenizerParams,
    seed: int,
    training: Sequences | None = None,
) -> tuple[Quantizer, ItemCodes]:
    """Learns a quantiser, and gives every item its ID.

    Args:
        vectors: embeddings of the items float32 [N, D].
        counts: training interactions of the items int64 [N].
        ties: order of items with equal counts float64 [N].
        params: section `tokenize_items`.
        seed: of all draws.
        training: training items of each session, for `params.session_share`; None for none.

    Returns:
        The quantiser, which takes embeddings, and the ID of every item.

    Raises:
        InsufficientDataError: all vectors are equal, or there are no interactions where the method needs them.
    """
    joined = None
    if training is not None and params.session_share:
        joined = joined_vectors(vectors, training, counts, params.session_share, params.session_width)
    own = vectors if joined is None else joined.vectors
    quantizer = fit_quantizer(own, counts, params, seed)
    head = popular_items(counts, params.head_share) if params.anchored else None
    codes = ItemCodes(quantizer.assign(own, head), quantizer.sizes, counts.astype(np.int64), ties)
    if joined is not None:
        quantizer = quantizer.after(joined.projection)
    return quantizer, codes.with_suffix() if params.collisions == "suffix" else codes


def describe(codes: ItemCodes, head_share: float) -> dict[str, Any]:
    """Figures of the IDs: how many, how long, and how often shared, of popular and of other items.

    Args:
        codes: of all items.
        head_share: share of the training interactions that popular items cover.

    Returns:
        `items`, `ids`, `sizes`; `items_per_id`, mean and largest; `mean_length_head`, `mean_length_tail`: codes of an
        item; `shared_head`, `shared_tail`: share of the items whose ID another item has too. Null for no such items.
    """
    trie = codes.trie
    crowd = np.diff(trie.item_offsets)
    sharing = np.empty(len(codes), bool)
    sharing[trie.items] = np.repeat(crowd > 1, crowd)
    head = head_items(codes.counts, head_share)
    mean = lambda values, chosen: round(float(values[chosen].mean()), 4) if chosen.any() else None  # noqa: E731
    return {
        "items": len(codes),
        "ids": len(crowd),
        "sizes": list(codes.sizes),
        "items_per_id": {"mean": round(float(crowd.mean()), 4), "largest": int(crowd.max())},
        "mean_length_head": mean(codes.lengths, head),
        "mean_length_tail": mean(codes.lengths, ~head),
        "shared_head": mean(sharing, head),
        "shared_tail": mean(sharing, ~head),
    }
