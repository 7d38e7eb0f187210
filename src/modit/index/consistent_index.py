"""The consistent index: an IVF-PQ whose lists are cells of the query view, and whose codes are of the item view.

Each item has two vectors, f_q(I) and f_i(I). K-means over f_q(I) makes the lists, so that a query is compared with
centroids of its own space. Within a list the item's vector f_i(I), less the list's mean of such vectors, is
product-quantised: the score is <f_q(Q), mean> + <f_q(Q), code>, which is that of a plain IVF-PQ, at the same cost.
With the item view in both places it is the plain IVF-PQ.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np

from modit.core.errors import ArtifactError, ContractError
from modit.core.seeds import derived_seed
from modit.data.vectors import unit
from modit.index.params import ConsistentIndexParams

INDEX_FILE, CENTROIDS_FILE, META_FILE = "index.faiss", "centroids.npy", "index.json"
_BITS = 8


@dataclass(frozen=True)
class IndexFacts:
    """What an index is.

    Attributes:
        items: N.
        dimension: d of a vector.
        lists: C.
        probes: lists that a query visits where it does not say.
        space: of the lists, query or item.
        residual: mean or centroid.
        towers: sha256 of the towers whose vectors it holds; queries of other towers mean nothing to it.
    """

    items: int
    dimension: int
    lists: int
    probes: int
    space: str
    residual: str
    towers: str


class ConsistentIndex:
    """An immutable index; build it with `build` or `load`.

    Attributes:
        centroids: of the lists, in the space that queries are compared in, float32 [C, d].
        facts: what it is.
    """

    def __init__(self, content: faiss.IndexIVFPQ, centroids: np.ndarray, facts: IndexFacts) -> None:
        self._content, self.centroids, self.facts = content, centroids, facts

    @classmethod
    def build(
        cls, query_view: np.ndarray, item_view: np.ndarray, params: ConsistentIndexParams, seed: int, towers: str = ""
    ) -> ConsistentIndex:
        """Builds the index of `params.space`.

        Args:
            query_view: f_q(I), unit float32 [N, d]; read if `params.space` is query.
            item_view: f_i(I), unit float32 [N, d].
            params: section `stage_consistent_index`.
            seed: of both k-means.
            towers: sha256 of the towers that made the views.

        Raises:
            ContractError: the views are not of one shape, not finite, or `pieces` does not divide d.
        """
        coarse = np.ascontiguousarray(query_view if params.space == "query" else item_view, np.float32)
        fine = np.ascontiguousarray(item_view, np.float32)
        _check(coarse, fine, params.pieces)
        items, dimension = fine.shape
        lists = min(items, params.lists or round(4 * items**0.5))
        centroids = _centroids(coarse, lists, params.iterations, derived_seed(seed, "lists"))
        assigned = nearest_list(coarse, centroids)
        anchors = _means(fine, assigned, centroids) if params.residual == "mean" else centroids
        content = _filled(fine, assigned, anchors, params, derived_seed(seed, "codes"))
        facts = IndexFacts(items, dimension, lists, min(params.probes, lists), params.space, params.residual, towers)
        return cls(content, centroids, facts)

    @property
    def sizes(self) -> np.ndarray:
        """Items of each list, int64 [C]."""
        lists = self._content.invlists
        return np.array([lists.list_size(number) for number in range(self.facts.lists)], np.int64)

    @property
    def assigned(self) -> np.ndarray:
        """The list of each item, int64 [N]."""
        found = np.empty(self.facts.items, np.int64)
        lists = self._content.invlists
        for number, size in enumerate(self.sizes.tolist()):
            if size:
                found[faiss.rev_swig_ptr(lists.get_ids(number), size)] = number
        return found

    def probe_order(self, queries: np.ndarray) -> np.ndarray:
        """All lists in the order in which each query visits them, int64 [B, C]."""
        return np.argsort(-(queries @ self.centroids.T), axis=1, kind="stable")

    def expect_towers(self, digest: str) -> None:
        """Refuses towers whose vectors it does not hold.

        Args:
            digest: their sha256.

        Raises:
            ArtifactError: it was built with others.
        """
        if self.facts.towers != digest:
            raise ArtifactError(
                f"the consistent index was built with towers {self.facts.towers or 'of an unknown sha256'}; it cannot "
                f"answer queries of towers {digest}: run step stage_consistent_index again"
            )

    def search(
        self, queries: np.ndarray, k: int, probes: int | None = None, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k items of greatest approximate inner product in the lists that are visited.

        Args:
            queries: f_q(Q), float32 [B, d], finite.
            k: items wanted, >= 1.
            probes: lists to visit; those of the index if None.
            allowed: bool [N], the items that may be results; None for all.

        Returns:
            Scores float32 [B, k] and rows int64 [B, k]; -1 where fewer were found.

        Raises:
            ContractError: a shape is wrong, a query is not finite, or k or probes is below 1.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.facts.dimension:  # noqa: PLR2004
            raise ContractError(f"queries have shape {queries.shape}; allowed: [B, {self.facts.dimension}]")
        if not np.isfinite(queries).all():
            raise ContractError("queries hold NaN or an infinite number; allowed: finite numbers")
        probes = self.facts.probes if probes is None else probes
        if k < 1 or probes < 1:
            raise ContractError(f"k is {k} and probes {probes}; allowed: 1 or more")
        near, visited = faiss.knn(queries, self.centroids, min(probes, self.facts.lists), faiss.METRIC_INNER_PRODUCT)
        return _search_lists(self._content, queries, k, visited, near, allowed)

    def save(self, folder: Path) -> None:
        """Writes `index.faiss`, `centroids.npy` and `index.json` into an existing folder."""
        faiss.write_index(self._content, str(folder / INDEX_FILE))
        np.save(folder / CENTROIDS_FILE, self.centroids)
        (folder / META_FILE).write_text(json.dumps(asdict(self.facts), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ConsistentIndex:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        for name in (INDEX_FILE, CENTROIDS_FILE, META_FILE):
            if not (folder / name).exists():
                raise ArtifactError(f"{folder / name} is missing; run step stage_consistent_index again")
        try:
            facts = IndexFacts(**json.loads((folder / META_FILE).read_text(encoding="utf-8")))
            return cls(faiss.read_index(str(folder / INDEX_FILE)), np.load(folder / CENTROIDS_FILE), facts)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ArtifactError(f"{folder} holds no consistent index: {error}") from error


def nearest_list(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The centroid of greatest inner product, by which queries choose their lists too, int64 [N]."""
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), 8_192):
        found[start : start + 8_192] = (vectors[start : start + 8_192] @ centroids.T).argmax(1)
    return found


def _check(coarse: np.ndarray, fine: np.ndarray, pieces: int) -> None:
    if coarse.shape != fine.shape or fine.ndim != 2 or not len(fine):  # noqa: PLR2004
        raise ContractError(f"the views have shapes {coarse.shape} and {fine.shape}; allowed: one shape [N, d], N >= 1")
    for name, view in (("query", coarse), ("item", fine)):
        bad = np.flatnonzero(~np.isfinite(view).all(1))
        if len(bad):
            raise ContractError(f"the {name} view of {len(bad)} items is not finite, the first is row {bad[0]}")
    if fine.shape[1] % pieces:
        raise ContractError(
            f"stage_consistent_index.pieces is {pieces}; allowed: a divisor of the dimension, {fine.shape[1]}"
        )


def _centroids(vectors: np.ndarray, lists: int, iterations: int, seed: int) -> np.ndarray:
    means = faiss.Kmeans(
        vectors.shape[1], lists, niter=iterations, seed=seed, spherical=True, min_points_per_centroid=1
    )
    means.train(vectors)
    return unit(means.centroids)


def _means(vectors: np.ndarray, assigned: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Mean vector of each list, float32 [C, d]; of an empty list its centroid, which nothing reads."""
    order = np.argsort(assigned, kind="stable")
    counts = np.bincount(assigned, minlength=len(centroids))
    means = centroids.copy()
    starts = np.flatnonzero(np.diff(assigned[order], prepend=-1))
    means[counts > 0] = np.add.reduceat(vectors[order], starts) / counts[counts > 0, None]
    return means


def _filled(
    vectors: np.ndarray, assigned: np.ndarray, anchors: np.ndarray, params: ConsistentIndexParams, seed: int
) -> faiss.IndexIVFPQ:
    """An IVF-PQ with codes of what `vectors` have beside the anchor of their list."""
    dimension = vectors.shape[1]
    quantizer = faiss.IndexFlatIP(dimension)
    quantizer.add(anchors)
    content = faiss.IndexIVFPQ(quantizer, dimension, len(anchors), params.pieces, _BITS, faiss.METRIC_INNER_PRODUCT)
    content.own_fields = True
    quantizer.this.disown()
    content.pq.cp.seed, content.pq.cp.niter, content.pq.cp.min_points_per_centroid = seed, params.iterations, 1
    residuals = vectors - anchors[assigned]
    # k-means needs as many points as codewords: of a small catalogue the residuals are repeated
    content.pq.train(np.ascontiguousarray(np.resize(residuals, (max(len(residuals), 1 << _BITS), dimension))))
    content.is_trained = True
    ids = np.arange(len(vectors), dtype=np.int64)
    content.add_core(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(assigned))
    return content


def _search_lists(
    content: faiss.IndexIVFPQ,
    queries: np.ndarray,
    k: int,
    visited: np.ndarray,
    near: np.ndarray,
    allowed: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    visited, near = np.ascontiguousarray(visited, np.int64), np.ascontiguousarray(near, np.float32)
    arrays = (faiss.swig_ptr(each) for each in (visited, near, scores, rows))
    # the wrapper of FAISS takes the number of lists from the index alone, which threads would share
    chosen = {} if allowed is None else {"sel": faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))}
    parameters = faiss.SearchParametersIVF(nprobe=visited.shape[1], **chosen)
    content.search_preassigned_c(len(queries), faiss.swig_ptr(queries), k, *arrays, False, parameters)
    return scores, rows
