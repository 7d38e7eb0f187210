"""A collection of an engine, searched by the rows of a catalogue as `ItemIndex` is."""

from __future__ import annotations

import logging

import numpy as np

from modit.core.errors import ArtifactError, ContractError
from modit.data.vectors import unit
from modit.index.engines.collection import Collection, EngineError, Hits
from modit.index.exact import order
from modit.index.searchable import Exclusions, RowLookup, checked_queries, padded_exclusions
from modit.index.storage import TopK

_logger = logging.getLogger(__name__)
_ONLY = 1_000  # the ids of at most 1,000 allowed items are sent; with more, a longer list is asked for and filtered
_FARTHER = 4  # where filtering left too few, the next list is four times as long
_COMPARED, _SAME = 64, 0.999  # items whose vectors are compared, and the least cosine


class EngineIndex:
    """The items of a catalogue in a collection.

    The collection may hold other items too, such as new ones: they are left out of lists.

    Attributes:
        item_ids: The catalogue's ids, unicode [N]; row r is item `item_ids[r]`.
        digest: What the collection was staged from, or of the index that it stands for.
    """

    def __init__(self, collection: Collection, item_ids: np.ndarray, dimension: int, digest: str) -> None:
        """Takes a collection without asking it; `expect_same_items` compares it with a catalogue."""
        self.item_ids, self.digest = item_ids, digest
        self._collection, self._dimension, self._lookup = collection, dimension, RowLookup(item_ids)

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def kind(self) -> str:
        """Name of the engine."""
        return self._collection.address.engine

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, exclude: Exclusions = None
    ) -> TopK:
        """Finds the k items of greatest inner product for each query, as `ItemIndex.search` does.

        Args:
            queries: float32 [B, d], finite, of any length but 0.
            k: Length of the lists, >= 1.
            allowed: bool [N]; only these rows are returned.
            exclude: Rows never returned, for each query: int [B, m] padded with -1, or B arrays.

        Raises:
            ContractError: A shape is wrong or a query is not finite.
            EngineError: The engine does not answer, or refuses.
        """
        queries = checked_queries(queries, k, allowed, len(self), self._dimension)
        unwanted = padded_exclusions(exclude, len(queries))
        left = len(self) if allowed is None else int(np.count_nonzero(allowed))
        if left == 0 or len(queries) == 0:
            return _ordered([_NONE] * len(queries), k)
        directions, lengths = unit(queries), np.linalg.norm(queries, axis=1)
        if not lengths.all():
            raise ContractError(f"query {lengths.argmin()} has length 0; allowed: more, as it has no direction")
        only = self.item_ids[allowed].tolist() if allowed is not None and left <= _ONLY else None
        depth = k + unwanted.shape[1]
        if only is None and left < len(self):
            depth = int(2 * depth * len(self) / left)
        lists: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        open_queries = np.arange(len(queries))
        while len(open_queries):
            found = self._collection.search(directions[open_queries], depth, only)
            short = []
            for query, hits in zip(open_queries.tolist(), found, strict=True):
                rows, scores = self._kept(hits, allowed, unwanted[query])
                lists[query] = rows, scores * lengths[query]
                if len(rows) < k and len(hits.item_ids) == depth:
                    short.append(query)
            open_queries, depth = np.array(short, np.int64), depth * _FARTHER
        return _ordered([lists[query] for query in range(len(queries))], k)

    def _kept(self, hits: Hits, allowed: np.ndarray | None, unwanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not hits.item_ids:
            return _NONE
        rows = self._lookup.rows_of(hits.item_ids)
        kept = rows >= 0
        if allowed is not None:
            kept &= allowed[rows]
        if len(unwanted):
            kept &= ~np.isin(rows, unwanted)
        return rows[kept], hits.scores[kept]


_NONE = np.empty(0, np.int64), np.empty(0, np.float32)


def _ordered(lists: list[tuple[np.ndarray, np.ndarray]], k: int) -> TopK:
    width = max((len(rows) for rows, _ in lists), default=0)
    scores = np.full((len(lists), max(width, k)), -np.inf, np.float32)
    rows = np.full(scores.shape, -1, np.int64)
    for number, (found, values) in enumerate(lists):
        rows[number, : len(found)], scores[number, : len(found)] = found, values
    scores, rows = order(scores, rows)
    return TopK(scores[:, :k], rows[:, :k])


def expect_same_items(collection: Collection, item_ids: np.ndarray, embeddings: np.ndarray, complete: bool) -> None:
    """Compares a collection with a catalogue: the number of items, and the vectors of some of them.

    Args:
        collection: Asked.
        item_ids: Of the catalogue, unicode [N].
        embeddings: Of the catalogue, unit float32 [N, d].
        complete: Whether it must hold exactly these items, as a generation does; a live one must hold those compared.

    Raises:
        EngineError: There is no such collection.
        ArtifactError: It holds another number of items, lacks one, or has another vector of one.
    """
    address, count = collection.address, collection.count()
    if count is None:
        raise EngineError(f"{address}: there is no such collection")
    if complete and count != len(item_ids):
        raise ArtifactError(f"{address} holds {count} items; allowed: the {len(item_ids)} of its catalogue")
    dimension = collection.dimension()
    if dimension != embeddings.shape[1]:
        raise ArtifactError(f"{address} has vectors of {dimension} numbers; allowed: {embeddings.shape[1]}")
    rows = np.linspace(0, len(item_ids) - 1, min(_COMPARED, len(item_ids))).astype(int)
    stored = collection.vectors(item_ids[rows].tolist())
    for row in rows:
        item_id = str(item_ids[row])
        if item_id not in stored:
            raise ArtifactError(f"{address} lacks item {item_id!r} of the catalogue")
        cosine = float(unit(stored[item_id][None])[0] @ embeddings[row])
        if not cosine >= _SAME:
            raise ArtifactError(
                f"{address}: item {item_id!r} has a vector whose cosine to the catalogue's is {cosine:.3f}; "
                f"allowed: at least {_SAME}, the same embedding"
            )
