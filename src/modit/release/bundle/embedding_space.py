"""Whether two catalogues embed their items in the same space: a sampler works in none but its own."""

from __future__ import annotations

import numpy as np

from modit.data.catalog import Catalog

_COMPARED_ITEMS, _SAME_COSINE = 2_000, 0.99


def other_space(catalog: Catalog, ids: np.ndarray, vectors: np.ndarray, dimension: int) -> str | None:
    """Why a sampler does not work on the embeddings of a catalogue, or None.

    In the same space the items that both catalogues have lie where they lay: some may have moved, most have not.

    Args:
        catalog: of today.
        ids: items of the champion's catalogue [N].
        vectors: their embeddings then [N, d].
        dimension: that the sampler takes.
    """
    if dimension != catalog.dimension:
        return f"it takes embeddings of {dimension} numbers, today's have {catalog.dimension}"
    _, today, then = np.intersect1d(catalog.item_ids, ids, return_indices=True)
    if not len(today):
        return "its catalogue has no item of today's, so nothing shows that the embeddings are the same"
    some = np.linspace(0, len(today) - 1, min(_COMPARED_ITEMS, len(today))).astype(int)
    cosines = (np.asarray(catalog.embeddings[today[some]]) * np.asarray(vectors[then[some]])).sum(1)
    median = float(np.median(cosines))
    if not median >= _SAME_COSINE:
        return f"items of both catalogues have other embeddings: median cosine {median:.3f}, at least {_SAME_COSINE}"
    return None
