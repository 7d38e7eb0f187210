"""The second stage: a list that was fetched deeper than asked, reordered by score and by what is known of its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from modit.inference.retrieval import Query, Retriever, SearchResult
from modit.metric.known_patterns import KnownPatterns
from modit.metric.second_stage import PatternOf, log_goodness, reordering_scores

# Rows of the index [n] to the log-odds that they have the attribute, float [n].
LogOdds = Callable[[np.ndarray], np.ndarray]
# What an item outside the seeds' pattern loses where only items of the pattern are wanted: more than any log-odds.
_OUTSIDE = -1e4
# Items that are fetched for one request at most; more are asked for only where the request itself asks for more.
MOST_FETCHED = 10_000


class ItemValues(Protocol):
    """Says how good the items of a list are for a request."""

    def __call__(self, request: Query, rows: np.ndarray) -> np.ndarray:
        """The values of rows of the index [n] for a request, float [n]; a greater one is better."""


@dataclass(frozen=True, eq=False)
class AttributeValues:
    """The log-odds that items have the attribute; items outside the seeds' pattern come last, where it is asked for.

    Attributes:
        log_odds: Of the attribute.
        within: Known patterns: an item whose nearest centre is not that of the seeds' mean is outside. None: all count.
    """

    log_odds: LogOdds
    within: KnownPatterns | None = None

    def __call__(self, request: Query, rows: np.ndarray) -> np.ndarray:
        """The values of rows [n], float [n]."""
        values = self.log_odds(rows)
        if self.within is None:
            return values
        return np.where(self.within.nearest[rows] == self.within.nearest_to(request.seeds), values, values + _OUTSIDE)


@dataclass(frozen=True, eq=False)
class GoodnessValues:
    """The log-probability that items have the attribute and lie in the pattern of the seeds.

    Attributes:
        log_odds: Of the attribute.
        patterns: How likely an item lies in the pattern.
    """

    log_odds: LogOdds
    patterns: PatternOf

    def __call__(self, request: Query, rows: np.ndarray) -> np.ndarray:
        """The values of rows [n], float32 [n], at most 0."""
        return log_goodness(self.log_odds(rows), self.patterns.log_probability(request.seeds, rows))


@dataclass(frozen=True, eq=False)
class RerankRetriever:
    """Takes `depth` times K results of another retriever and orders them by inner product + weight * value.

    Attributes:
        first: Answers with the longer lists.
        values: Of the items of a list.
        depth: Length of its lists as a multiple of K, >= 1.
        weight: Of the values, >= 0.
        most: Items that are fetched at most, such as those of the index.
    """

    first: Retriever[Query]
    values: ItemValues
    depth: int
    weight: float
    most: int = MOST_FETCHED

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers requests as `first` does."""
        lists = self.first.retrieve([self.deeper(request) for request in requests])
        return [self.reorder(found, request) for found, request in zip(lists, requests, strict=True)]

    def deeper(self, request: Query) -> Query:
        """The request for the longer list."""
        return replace(request, k=self.reach(request.k))

    def reach(self, k: int) -> int:
        """Length of the list that k items are taken from."""
        return max(k, min(self.depth * k, self.most))

    def reorder(self, found: SearchResult, request: Query) -> SearchResult:
        """The answer to a request, from the longer list."""
        return rerank(found, self.values(request, found.rows), request.k, self.depth, self.weight)


def fetch_deeper(first: Retriever[Query], requests: Sequence[Query], depth: int) -> list[SearchResult]:
    """Lists of `depth` times the length that the requests ask for."""
    return first.retrieve([replace(request, k=depth * request.k) for request in requests])


def rerank(found: SearchResult, values: np.ndarray, k: int, depth: int, weight: float) -> SearchResult:
    """Orders the first `depth` times k items of a list anew and keeps k.

    Args:
        found: The list, best first; it may be longer.
        values: Of its items [n].
        k: Items kept.
        depth: How far down the list items are taken from, as a multiple of k.
        weight: Of the values beside the inner product.

    Returns:
        The same query with the rows kept; the scores are those that they were ordered by. Equal ones keep their order.
    """
    reach = depth * k
    score = reordering_scores(found.scores[:reach], values[:reach], weight)
    order = np.argsort(-score, kind="stable")[:k]
    return SearchResult(found.query, found.rows[order], score[order])


@dataclass(frozen=True, eq=False)
class StoredLogOdds:
    """Log-odds of all items, computed when an item is first asked for."""

    embeddings: np.ndarray
    model: Callable[[np.ndarray], np.ndarray]
    _values: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray, model: Callable[[np.ndarray], np.ndarray]) -> StoredLogOdds:
        """Of a model that takes embeddings [n, d]."""
        return cls(embeddings, model, np.full(len(embeddings), np.nan))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The log-odds of rows of the index [n], float64 [n]."""
        missing = np.unique(rows[np.isnan(self._values[rows])])
        if len(missing):
            self._values[missing] = self.model(np.asarray(self.embeddings)[missing])
        return self._values[rows]
