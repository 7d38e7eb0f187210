"""Seeds to query to items: one protocol for everything that answers, and one way from a query to a list."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from modit.core.errors import ContractError
from modit.core.seeds import stream
from modit.data.vectors import unit
from modit.index.searchable import SearchableIndex
from modit.inference.items import Items
from modit.inference.runtime import QuerySampler
from modit.inference.sampler_file import SamplerInfo, SamplerInputs
from modit.metric.evidence import DIRECTIONS, KnownVerdicts
from modit.metric.known_patterns import KnownPatterns

_NO_ROWS = np.empty(0, np.int64)
Request = TypeVar("Request", contravariant=True)


@dataclass(frozen=True)
class Query:
    """A request of the task `seeds`: seed vectors, and which items may be results.

    Attributes:
        seeds: float32 [m, d], of any length and order.
        k: Items wanted, >= 1.
        guidance: Scale; None takes the one that the sampler was exported with.
        rounds: Runs of the sampler from different noise, whose queries are averaged, >= 1.
        exclude: Rows that are no result, int64 [e].
        allowed: bool [N], the rows that may be results; None for all.
        noise: float32 [rounds, d]; None draws it from the domain and the seeds alone.
    """

    seeds: np.ndarray
    k: int
    guidance: float | None = None
    rounds: int = 1
    exclude: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    allowed: np.ndarray | None = None
    noise: np.ndarray | None = None


class Generation(NamedTuple):
    """What was decoded for one request by a retriever that generates IDs of items.

    Attributes:
        decoded: IDs.
        invalid: Of these, how many no item has.
        items: Items that the others have in all, before any is excluded or cut off.
    """

    decoded: int
    invalid: int
    items: int


class QuerySet(NamedTuple):
    """What a retriever that makes several queries of one request searched with.

    Attributes:
        vectors: Unit vectors of the queries, float32 [k, d]; none of a retriever that reorders one list.
        first: The item that each query finds first, int64 [k]; of one list its first k items.
        runs: Mean of the queries' vectors in each of several runs, float32 [r, d].
    """

    vectors: np.ndarray
    first: np.ndarray
    runs: np.ndarray


class SearchResult(NamedTuple):
    """What a retriever found for one request.

    Attributes:
        query: Unit float32 [d]; empty where items are found without a query vector.
        rows: Rows of the index, int64 [n], n <= k, best first.
        scores: Inner products with the query, or another score by which items are ranked, float32 [n].
        generation: Of a retriever that generates IDs; None of any other.
        judged: Scores of the rows that the request names, float32 [m]; None where no request names rows.
        query_set: Of a retriever that makes several queries of one request; None of any other.
    """

    query: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    generation: Generation | None = None
    judged: np.ndarray | None = None
    query_set: QuerySet | None = None


class Retriever(Protocol[Request]):
    """Answers requests of a task: a champion's bundle, an exported file, a torch model or a classical row."""

    def retrieve(self, requests: Sequence[Request]) -> list[SearchResult]:
        """Answers all requests at once; each answer is that of its request alone."""


@dataclass(frozen=True, eq=False)
class SamplerRetriever:
    """A sampler and the index that its queries search.

    Attributes:
        sampler: An exported file, or a torch model in its place.
        index: Searched.
        together: Search with all queries at once, which is faster for many and imports torch; the results are equal.
        verdicts: The known ones; read by a sampler that has local moves.
        patterns: The known ones, which queries are moved by; None moves none.
    """

    sampler: QuerySampler
    index: SearchableIndex
    together: bool = False
    verdicts: KnownVerdicts | None = None
    patterns: KnownPatterns | None = None

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers all requests in one run of the sampler: the queries equal those of one by one to 1e-5.

        Raises:
            ContractError: The sampler or the index refuses a value.
        """
        queries = generate_queries(self.sampler, requests, self.verdicts)
        if self.patterns is not None:
            queries = self.patterns.moved(queries, [_in_order(request.seeds) for request in requests])
        return (search_together if self.together else _search_each)(self.index, queries, requests)


def retriever_over(sampler: QuerySampler, items: Items, patterns: KnownPatterns | None = None) -> SamplerRetriever:
    """What answers for a sampler's domain over a catalogue, as the service does: every stored verdict is evidence."""
    verdicts = items.known_verdicts(sampler.info.domain) if sampler.info.uses_evidence else None
    return SamplerRetriever(sampler, items.index, verdicts=verdicts, patterns=patterns)


def search_together(index: SearchableIndex, vectors: np.ndarray, queries: Sequence[Query]) -> list[SearchResult]:
    """Searches with many query vectors at once.

    Args:
        index: Searched.
        vectors: Unit float32 [n, d].
        queries: The requests, [n]; they must share `k` and `allowed`.

    Raises:
        ValueError: The requests differ in `k` or `allowed`.
    """
    first = queries[0]
    if any(query.k != first.k or query.allowed is not first.allowed for query in queries):
        raise ValueError("requests that are searched together must have the same k and the same allowed")
    found = index.search(vectors, first.k, first.allowed, [query.exclude for query in queries])
    kept = found.rows >= 0
    return [
        SearchResult(vector, rows[there], scores[there])
        for vector, rows, scores, there in zip(vectors, found.rows, found.scores, kept, strict=True)
    ]


def _search_each(index: SearchableIndex, vectors: np.ndarray, queries: Sequence[Query]) -> list[SearchResult]:
    return [
        SearchResult(vector, *search(index, vector, query.k, query.exclude, query.allowed))
        for vector, query in zip(vectors, queries, strict=True)
    ]


def search(
    index: SearchableIndex, query: np.ndarray, k: int, exclude: np.ndarray, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the best items for one query vector.

    Args:
        index: Searched.
        query: float32 [d].
        k: Items wanted, >= 1.
        exclude: Rows that are no result, int64 [e].
        allowed: bool [N], the rows that may be results; None for all.

    Returns:
        Rows and scores [n], n <= k: fewer only if there are no more.
    """
    if allowed is not None:
        allowed = allowed.copy()
        allowed[exclude] = False
        k, exclude = min(k, int(np.count_nonzero(allowed))), _NO_ROWS
        if k == 0:
            return _NO_ROWS, np.empty(0, np.float32)
    found = index.search(query[None], k, allowed, exclude[None])
    there = found.rows[0] >= 0
    return found.rows[0][there], found.scores[0][there]


def generate_queries(
    sampler: QuerySampler, queries: Sequence[Query], verdicts: KnownVerdicts | None = None
) -> np.ndarray:
    """Generates a query vector for each request.

    Args:
        sampler: Averages its own samples in each round (docs/adr/0006).
        queries: At least one; `seeds`, `guidance`, `rounds` and `noise` are used.
        verdicts: The known ones; None: none is known.

    Returns:
        Unit float32 [n, d].
    """
    rows = np.repeat(np.arange(len(queries)), [query.rounds for query in queries])
    vectors = sampler.queries(sampler_inputs(sampler.info, queries, verdicts))
    if len(rows) == len(queries):
        return vectors
    return np.stack([_mean(vectors[rows == number]) for number in range(len(queries))])


def sampler_inputs(info: SamplerInfo, queries: Sequence[Query], verdicts: KnownVerdicts | None = None) -> SamplerInputs:
    """Puts requests into the form that a sampler takes: a row for each round of each request, in their order.

    The order of a request's seeds changes nothing. Of more seeds than the sampler takes, it is given an even selection.
    """
    rounds = [query.rounds for query in queries]
    ordered = [_in_order(even_selection(query.seeds, info.maximum_seeds)) for query in queries]
    seeds, mask = _padded(ordered)
    scales = [info.guidance if query.guidance is None else query.guidance for query in queries]
    noise = [
        request_noise(info.domain, each, query.rounds) if query.noise is None else query.noise
        for each, query in zip(ordered, queries, strict=True)
    ]
    evidence = evidence_of(info, mean_of_seeds(seeds, mask), verdicts, padded_exclusions(queries))
    rows = np.repeat(np.arange(len(queries)), rounds)
    return SamplerInputs(
        seeds[rows], mask[rows], np.concatenate(noise), np.array(scales, np.float32)[rows], evidence[rows]
    )


def evidence_of(
    info: SamplerInfo, points: np.ndarray, verdicts: KnownVerdicts | None, exclude: np.ndarray
) -> np.ndarray:
    """What the known verdicts say near points [n, d], float32 [n, E, d]; zeros for a sampler that does not ask.

    Args:
        info: Of the sampler.
        points: Unit [n, d].
        verdicts: The known ones; None: none is known.
        exclude: Rows that are no evidence of a point, int64 [n, e], padded with -1.
    """
    if info.uses_evidence and verdicts is not None:
        return verdicts.directions(points, exclude)
    return np.zeros((len(points), DIRECTIONS, info.dimension), np.float32)


def padded_exclusions(queries: Sequence[Query]) -> np.ndarray:
    """The rows that are no results of each request, its seeds among them, int64 [n, e], padded with -1."""
    rows = np.full((len(queries), max(len(query.exclude) for query in queries)), -1, np.int64)
    for line, query in zip(rows, queries, strict=True):
        line[: len(query.exclude)] = query.exclude
    return rows


def mean_of_seeds(seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Unit means of the unit seeds of each request, float32 [n, d]; `mask` [n, M] says where seeds [n, M, d] are."""
    return unit((unit(seeds) * mask[..., None]).sum(1))


def padded_seeds(queries: Sequence[Query]) -> tuple[np.ndarray, np.ndarray]:
    """The seeds of all requests, float32 [n, M, d] with zeros at the end, and where they are, bool [n, M]."""
    return _padded([query.seeds for query in queries])


def _padded(seeds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(max(map(len, seeds))) < np.array([[len(each)] for each in seeds])
    padded = np.zeros((*mask.shape, seeds[0].shape[1]), np.float32)
    padded[mask] = np.concatenate(seeds)
    return padded, mask


def even_selection(seeds: np.ndarray, most: int) -> np.ndarray:
    """Selects at most `most` of the seeds [m, ...], evenly spaced and in their order."""
    if len(seeds) <= most:
        return seeds
    return seeds[np.linspace(0, len(seeds) - 1, most).round().astype(int)]


def _in_order(seeds: np.ndarray) -> np.ndarray:
    return seeds[sorted(range(len(seeds)), key=lambda row: seeds[row].tobytes())]


def _mean(vectors: np.ndarray) -> np.ndarray:
    if len(vectors) == 1:
        return vectors[0]
    mean = vectors.mean(0)
    return mean / np.linalg.norm(mean)


def request_noise(domain: str, seeds: np.ndarray, rounds: int) -> np.ndarray:
    """Draws the noise of a request; the first rows are the same for any number of rounds.

    Args:
        domain: Of the sampler.
        seeds: float32 [m, d], in a fixed order.
        rounds: How many.

    Returns:
        float32 [rounds, d].
    """
    name = hashlib.sha256(np.ascontiguousarray(seeds, np.float32).tobytes()).hexdigest()
    return stream(0, "retrieve", domain, name).standard_normal((rounds, seeds.shape[1]), np.float32)


def expect_candidates(count: int, k: int, allowed: np.ndarray | None, **rows: np.ndarray) -> None:
    """Checks what a request says of items, for retrievers that are asked with rows of the catalogue.

    Args:
        count: N, items of the catalogue.
        k: items wanted.
        allowed: bool [N], the rows that may be results, or None for all.
        **rows: by the field's name, each int64 [n].

    Raises:
        ContractError: k is below 1, a row is not of the catalogue, or `allowed` is not a bool for each item.
    """
    if k < 1:
        raise ContractError(f"k is {k}; allowed: at least 1")
    for name, each in rows.items():
        wrong = (each < 0) | (each >= count)
        if wrong.any():
            raise ContractError(f"{name} has row {each[wrong][0]}; allowed: 0 to {count - 1}")
    if allowed is not None and (allowed.shape != (count,) or allowed.dtype != bool):
        raise ContractError(f"allowed is {allowed.dtype} {allowed.shape}; allowed: bool ({count},)")
