"""The rows of the task `search`: BM25, towers by exact and by indexed search, and both fused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from modit.data.text_space import TextSpace
from modit.evaluate.bm25 import WEIGHTS
from modit.evaluate.search.names import BM25, FUSED
from modit.evaluate.task import Kind, Setting
from modit.index.consistent_index import ConsistentIndex
from modit.inference.retrieval import SearchResult
from modit.inference.search import SearchRetriever
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex
from modit.towers.encoder import TextTowers

_NO_QUERY = np.empty(0, np.float32)
_TEXTS_AT_ONCE = 64
FUSION_GRID = [{"weight": weight} for weight in WEIGHTS]


class TextScorer(Protocol):
    """Scores all items for a text."""

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The score of every item for each text, float32 [b, N]."""


@dataclass(frozen=True, eq=False)
class ScoredTexts:
    """Ranks all items by a score.

    Attributes:
        scorer: Of all items.
        ties: Order of items of equal score, float64 [N]: a hash of the ids, so that no id comes first by its number.
    """

    scorer: TextScorer
    ties: np.ndarray

    def retrieve(self, requests: Sequence[TextQuery]) -> list[SearchResult]:
        """The k best items of each request, and the scores of its judged ones."""
        found: list[SearchResult] = []
        for part in _parts(requests):
            scores = self.scorer.scores([request.text for request in part])
            found += [best_of(line, request, self.ties) for line, request in zip(scores, part, strict=True)]
        return found


def best_of(scores: np.ndarray, request: TextQuery, ties: np.ndarray) -> SearchResult:
    """The k items of greatest score [N], and the scores of the judged ones."""
    k = min(request.k, len(scores))
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= least)
    best = candidates[np.lexsort((ties[candidates], -scores[candidates]))[:k]]
    return SearchResult(_NO_QUERY, best, scores[best], judged=scores[request.judged])


@dataclass(frozen=True, eq=False)
class SpaceScorer:
    """Cosines in the text space, from which nothing was learnt: what the towers begin as.

    Attributes:
        space: With its items.
    """

    space: TextSpace

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The score of every item for each text, float32 [b, N]."""
        return self.space.encode(texts) @ self.space.items.T


@dataclass(frozen=True, eq=False)
class TowerScorer:
    """Inner products of the query tower's vector with those of all items.

    Attributes:
        towers: In evaluation mode.
        items: Item view of all items, float32 [N, d].
    """

    towers: TextTowers
    items: np.ndarray

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The score of every item for each text, float32 [b, N]."""
        return self.towers.encode(texts, "query") @ self.items.T


@dataclass(frozen=True, eq=False)
class IndexedTowers:
    """The towers behind an index. Judged items are scored by their whole vectors, as no index is asked about them.

    Attributes:
        scorer: Of the towers.
        index: Over the same items.
    """

    scorer: TowerScorer
    index: ConsistentIndex

    def retrieve(self, requests: Sequence[TextQuery]) -> list[SearchResult]:
        """The items that the index finds for each request."""
        if not requests:
            return []
        queries = self.scorer.towers.encode([request.text for request in requests], "query")
        scores, rows = self.index.search(queries, max(request.k for request in requests))
        return [
            SearchResult(query, line[line >= 0][: request.k], score[line >= 0][: request.k], judged=judged)
            for query, line, score, request in zip(queries, rows, scores, requests, strict=True)
            for judged in [self.scorer.items[request.judged] @ query]
        ]


@dataclass(frozen=True, eq=False)
class Bm25Row:
    """BM25, with its two numbers and its stemmer chosen on validation.

    Attributes:
        titles: Of all items.
        ties: As in `ScoredTexts`.
        grid: Of settings.
    """

    titles: Sequence[str]
    ties: np.ndarray
    grid: Sequence[Setting]
    name = BM25
    kind: Kind = "classical"

    def build(self, setting: Setting) -> ScoredTexts:
        """The retriever at a setting."""
        return ScoredTexts(WordIndex.build(self.titles, **setting), self.ties)

    def answers(self, requests: Sequence[TextQuery]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting of the grid in turn."""
        for setting in self.grid:
            yield self.build(setting).retrieve(requests)


@dataclass(frozen=True, eq=False)
class FusedRow:
    """BM25 and the towers fused as they are served, with the weight chosen on validation.

    Attributes:
        retriever: At any weight.
    """

    retriever: SearchRetriever
    name = FUSED
    kind: Kind = "two_stage"
    grid = FUSION_GRID

    def build(self, setting: Setting) -> SearchRetriever:
        """The retriever at a setting."""
        return replace(self.retriever, **setting)

    def answers(self, requests: Sequence[TextQuery]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting of the grid in turn."""
        for setting in self.grid:
            yield self.build(setting).retrieve(requests)


def _parts(requests: Sequence[TextQuery]) -> Iterator[Sequence[TextQuery]]:
    for start in range(0, len(requests), _TEXTS_AT_ONCE):
        yield requests[start : start + _TEXTS_AT_ONCE]
