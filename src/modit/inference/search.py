"""Search by text as it is served: the nearest items by two towers and an index, and by BM25 over words.

Shape legend: B texts, W n-grams of the longest, d dimension, N items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
import onnxruntime

from modit.core.errors import ArtifactError
from modit.data.hash_unit import hash_unit
from modit.data.ngrams import Side, bags, padded, words_of
from modit.data.text_space import SPACE_FILE, TextSpace, known_vectors
from modit.index.consistent_index import ConsistentIndex
from modit.inference.exported_files import item_ids_digest
from modit.inference.retrieval import SearchResult, expect_candidates
from modit.inference.runtime import open_declared
from modit.inference.search_files import VECTORS_FILE, SearchInfo, tower_file, tower_metadata, tower_values
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex

_TEXTS_AT_ONCE = 256
# Cosines that differ by less are equal: those of torch and of the exported file do.
_DECIMALS = 6


class TextEncoder(Protocol):
    """Turns texts into unit vectors: exported towers, or torch in their place."""

    def encode(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts, by the tower of a side."""


@dataclass(frozen=True, eq=False)
class OnnxTowers:
    """Two exported towers.

    Attributes:
        graphs: Of each side.
        info: What the files say of themselves.
        space: That they read, too; None where they read n-grams alone.
    """

    graphs: Mapping[str, onnxruntime.InferenceSession]
    info: SearchInfo
    space: TextSpace | None = None

    def encode(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts, by the tower of a side.

        Raises:
            ContractError: A text has no letter or digit.
            ArtifactError: The tower gives a number that is not finite.
        """
        words = [words_of(text) for text in texts]
        rows, known = bags(words, self.info.buckets), known_vectors(words, self.space, self.info.dimension)
        parts = [slice(start, start + _TEXTS_AT_ONCE) for start in range(0, len(rows), _TEXTS_AT_ONCE)]
        given = [{"ngrams": padded(rows[part])} | ({"known": known[part]} if self.space else {}) for part in parts]
        found = [self.graphs[side].run(None, each)[0] for each in given]
        vectors = np.concatenate([np.empty((0, self.info.dimension), np.float32), *found])
        if not np.isfinite(vectors).all():
            raise ArtifactError(f"{tower_file(side)} of towers {self.info.towers_digest} gives NaN or infinite numbers")
        return vectors


@dataclass(frozen=True, eq=False)
class SearchRetriever:
    """Answers requests of the task `search` by a weighted sum of two scores.

    Candidates are the best items whose titles share a word with the text, by BM25, and the nearest ones by the towers,
    which the index finds. An item's score is w cos + (1 - w) b / b_max: the cosine of its vector and the text's, and
    its BM25 over the greatest of all items (convex combination, Bruch et al., ACM TOIS 2023). A text without a known
    word, or one spelt alike, has candidates of the towers alone.

    Attributes:
        towers: Encode texts.
        index: Over the item vectors.
        words: Over the same items.
        vectors: f_i(I), unit float32 [N, d].
        ties: Order of items of equal score, float64 [N].
        weight: w, in [0, 1].
        depth: Candidates of either kind, at least; more where more are wanted.
    """

    towers: TextEncoder
    index: ConsistentIndex
    words: WordIndex
    vectors: np.ndarray
    ties: np.ndarray
    weight: float
    depth: int

    def __len__(self) -> int:
        return len(self.vectors)

    def retrieve(self, requests: Sequence[TextQuery]) -> list[SearchResult]:
        """Answers all requests, whose texts are read at once. A list is short only if no more items may be results.

        Raises:
            ContractError: A text has no letter or digit, k is below 1, a row is not of the catalogue, or `allowed` is
                not a bool for each item.
        """
        for request in requests:
            expect_candidates(len(self), request.k, request.allowed, exclude=request.exclude, judged=request.judged)
        vectors = self.towers.encode([request.text for request in requests], "query")
        return [self._answer(request, vector) for request, vector in zip(requests, vectors, strict=True)]

    @staticmethod
    def words_of(text: str) -> list[str]:
        """The words of a text that are read; none where it has no letter or digit."""
        return words_of(text)

    def _answer(self, request: TextQuery, vector: np.ndarray) -> SearchResult:
        allowed = request.allowed
        if len(request.exclude):
            allowed = np.ones(len(self), bool) if allowed is None else allowed.copy()
            allowed[request.exclude] = False
        count, (by_words,) = max(request.k, self.depth), self.words.shares([request.text])
        worded = self._with_words(by_words, count, allowed)
        rows = np.union1d(worded, self._nearest(vector, count, allowed))
        scores = self._fused(rows, vector, by_words)
        best = self._best(rows, scores, request.k)
        judged = self._fused(request.judged, vector, by_words) if len(request.judged) else None
        return SearchResult(vector, best, scores[np.searchsorted(rows, best)], judged=judged)

    def _fused(self, rows: np.ndarray, vector: np.ndarray, by_words: np.ndarray) -> np.ndarray:
        """Scores of some items, float32 [n]."""
        cosines = np.round(self.vectors[rows] @ vector, _DECIMALS)
        return np.asarray(self.weight * cosines + (1 - self.weight) * by_words[rows], np.float32)

    def _with_words(self, scores: np.ndarray, count: int, allowed: np.ndarray | None) -> np.ndarray:
        """The best items that share a word with the text, int64 [n], n <= count."""
        rows = np.flatnonzero(scores > 0 if allowed is None else (scores > 0) & allowed)
        return self._best(rows, scores[rows], count)

    def _nearest(self, vector: np.ndarray, count: int, allowed: np.ndarray | None) -> np.ndarray:
        """The nearest items by the index, int64 [n], n >= min(count, items that may be results).

        Where the visited lists have too few of them, they are all that may be results.
        """
        available = len(self) if allowed is None else int(allowed.sum())
        if count < available:
            _, (found,) = self.index.search(vector[None], count, allowed=allowed)
            if (found >= 0).all():
                return found
        return np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)

    def _best(self, rows: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
        """The `count` best of some rows by their scores, best first."""
        if count < len(rows):
            kept = scores >= np.partition(scores, len(rows) - count)[len(rows) - count]
            rows, scores = rows[kept], scores[kept]
        return rows[np.lexsort((self.ties[rows], -scores))[:count]]


def ties_of(item_ids: np.ndarray) -> np.ndarray:
    """The order of items of equal score, float64 [N]: a hash, so that no id comes first by its number."""
    return hash_unit(item_ids, "search-ties")


def load_search(folder: Path, item_ids: np.ndarray, threads: int = 1) -> SearchRetriever:
    """Loads exported towers with their indices.

    Args:
        folder: Of the artifact `exported_towers`.
        item_ids: Of the catalogue, in its order.
        threads: Of onnxruntime within an operator; 0 takes the machine's cores.

    Raises:
        ArtifactError: A file is missing, damaged, or does not belong to the others, or they are of other items.
    """
    info = SearchInfo.load(folder)
    index = ConsistentIndex.load(folder)
    words = WordIndex.load(folder, info.bm25["stemmer"], info.bm25["likeness"])
    index.expect_towers(info.towers_digest)
    try:
        vectors = np.load(folder / VECTORS_FILE, mmap_mode="r")
    except ValueError as error:
        raise ArtifactError(f"{folder / VECTORS_FILE} is damaged: {error}") from error
    for what, found, expected in (
        (VECTORS_FILE, vectors.shape, (info.items, info.dimension)),
        ("the consistent index", (index.facts.items, index.facts.dimension), (info.items, info.dimension)),
        ("the index of words", (words.items,), (info.items,)),
    ):
        if found != expected:
            raise ArtifactError(f"{folder}: {what} has shape {found}; search.json says {expected}")
    if not np.isfinite(vectors).all():
        raise ArtifactError(f"{folder / VECTORS_FILE} holds NaN or infinite numbers; allowed: finite numbers")
    if item_ids_digest(item_ids) != info.item_ids_digest:
        raise ArtifactError(f"{folder} was exported for other items than those of the catalogue")
    return SearchRetriever(
        open_towers(folder, info, threads), index, words, vectors, ties_of(item_ids), info.weight, info.depth
    )


def open_towers(folder: Path, info: SearchInfo, threads: int = 1) -> OnnxTowers:
    """Loads the two graphs of a folder, and their text space.

    Raises:
        ArtifactError: A file is missing, damaged, of other towers, or has other inputs or outputs than `info` says.
    """
    values, graphs = tower_values(info.dimension, info.space), {}
    space = TextSpace.load(folder) if info.space else None
    if space is not None and not (space.dimension <= info.dimension and np.isfinite(space.vectors).all()):
        raise ArtifactError(
            f"{folder / SPACE_FILE}: {space.dimension} numbers of a word, finite or not; allowed: finite ones, at most "
            f"{info.dimension}"
        )
    for side in get_args(Side):
        path = folder / tower_file(side)
        graphs[side] = open_declared(path, tower_metadata(path.name, info.towers_digest), values, threads)
    return OnnxTowers(graphs, info, space)
