"""The task of `/v1/retrieve`: seeds in, items out that have the attribute of a domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from modit.inference.retrieval import Query, SearchResult, retrieve_all
from modit.release.bundle.loading import Release
from modit.serve.feature_seeds import FeatureSeeds, FoundVectors
from modit.serve.schema import RequestError, RetrieveAnswer, RetrieveRequest, SeedSource, shown
from modit.serve.settings import Limits
from modit.serve.tasks import Placed, answer_fields, candidates_of, expect_range

_LENGTHS = (1e-6, 1e6)  # far from where squares of float32 vanish or overflow


class SeedVectors(NamedTuple):
    """Seeds as a model takes them.

    Attributes:
        vectors: float32 [m, d].
        rows: of the index, int64 [m], -1 for an item that it does not have; empty where vectors were given.
        source: where the vectors were read; None where vectors were given.
    """

    vectors: np.ndarray
    rows: np.ndarray
    source: SeedSource | None

    @property
    def indexed(self) -> np.ndarray:
        """Rows of those seeds that the index has, int64 [n]."""
        return self.rows[self.rows >= 0]


@dataclass(frozen=True)
class SeedQuery:
    """A request that was read against the release that will answer it.

    Attributes:
        request: as it came.
        seeds: its seeds.
        query: what is asked of the release.
    """

    request: RetrieveRequest
    seeds: SeedVectors
    query: Query


class RetrieveTask:
    """Answers requests with seeds."""

    def __init__(
        self,
        limits: Limits,
        features: FeatureSeeds | None = None,
        count: Callable[[int, int], None] = lambda features, bundle: None,
    ) -> None:
        """Prepares to answer.

        Args:
            limits: of a request.
            features: the online store that seeds are read from first; None reads them from the bundle.
            count: is told how many seeds of a request came from the feature store and from the bundle.
        """
        self.limits, self._features, self._count = limits, features, count

    def read(self, placed: Sequence[Placed[RetrieveRequest]], release: Release) -> list[SeedQuery]:
        """Reads requests of one domain, with one look-up in the feature store for all of them.

        Args:
            placed: at least one request.
            release: that will answer.

        Raises:
            RequestError: a value is not allowed; its place in the batch is part of the field.
        """
        for each in placed:
            with each.refusals():
                _check_seeds(each.request, release)
        ids = [item_id for each in placed for item_id in each.request.seeds.item_ids or ()]
        found = self._features.find(ids, release) if ids and self._features else None
        start, read = 0, []
        for each in placed:
            end = start + len(each.request.seeds.item_ids or ())
            part = FoundVectors(found.vectors[start:end], found.problem) if found else None
            with each.refusals():
                read.append(self._query(each.request, _seeds(each.request, release, part), release))
            start = end
        return read

    def search(self, queries: Sequence[SeedQuery], release: Release) -> list[SearchResult]:
        """Runs the sampler once for all queries, and searches the index with each of its vectors."""
        return retrieve_all(release.sampler, release.items.index, [each.query for each in queries])

    def answer(self, query: SeedQuery, result: SearchResult, release: Release) -> RetrieveAnswer:
        """Makes the answer for the caller, and counts its seeds."""
        fields = answer_fields(query.request, result, release)
        if source := query.seeds.source:
            fields["seed_source"] = source
            self._count(source.features, source.bundle)
        return RetrieveAnswer(**fields)

    def anchors(self, query: SeedQuery) -> list[tuple[str, int]]:
        """The seeds that the index has: id and row, for the log of requests."""
        rows = zip(query.request.seeds.item_ids or (), query.seeds.rows.tolist(), strict=True)
        return [(item_id, row) for item_id, row in rows if row >= 0]

    def size(self, query: SeedQuery) -> int:
        """How many seeds there are, for the access log."""
        return len(query.seeds.vectors)

    def _query(self, request: RetrieveRequest, seeds: SeedVectors, release: Release) -> SeedQuery:
        if request.guidance is not None:
            expect_range("guidance", request.guidance, 0, self.limits.guidance)
        exclude, allowed = candidates_of(request, release.items, self.limits, seeds.indexed)
        rounds = _rounds(request.samples, release.sampler.info.samples, self.limits.rounds)
        return SeedQuery(request, seeds, Query(seeds.vectors, request.k, request.guidance, rounds, exclude, allowed))


def _check_seeds(request: RetrieveRequest, release: Release) -> None:
    """Checks what can be checked before anything is looked up."""
    seeds = request.seeds
    if (seeds.item_ids is None) == (seeds.vectors is None):
        found = "neither" if seeds.vectors is None else "both"
        message = f"The seeds have {found} of item_ids and vectors; exactly one of them is needed."
        raise RequestError("seeds", found, "either item_ids or vectors", message=message)
    name = "item_ids" if seeds.vectors is None else "vectors"
    count = len(seeds.vectors if seeds.vectors is not None else seeds.item_ids or ())
    expect_range(f"number of seeds.{name}", count, 1, release.sampler.info.maximum_seeds)
    if seeds.item_ids and len(set(seeds.item_ids)) < len(seeds.item_ids):
        raise RequestError("seeds.item_ids", seeds.item_ids, "each id once")


def _seeds(request: RetrieveRequest, release: Release, found: FoundVectors | None) -> SeedVectors:
    if request.seeds.vectors is not None:
        vectors = _vectors(request.seeds.vectors, release.sampler.info.dimension)
        return SeedVectors(vectors, np.empty(0, np.int64), None)
    item_ids = request.seeds.item_ids or []
    rows = release.items.rows_of(item_ids)
    online = found.vectors if found else [None] * len(item_ids)
    unknown = [each for each, row, vector in zip(item_ids, rows, online, strict=True) if row < 0 and vector is None]
    if unknown:
        raise _unknown(unknown, release, found)
    stored = release.items.embeddings
    chosen = [stored[row] if vector is None else vector for row, vector in zip(rows, online, strict=True)]
    features = sum(vector is not None for vector in online)
    problem = {"problem": found.problem} if found and found.problem else {}
    source = SeedSource(features=features, bundle=len(item_ids) - features, **problem)
    return SeedVectors(np.array(chosen, np.float32), rows, source)


def _unknown(item_ids: list[str], release: Release, found: FoundVectors | None) -> RequestError:
    allowed = f"ids of the index of {release.source.label}"
    if found:
        allowed = f"ids of the feature store or of the index of {release.source.label}"
    reason = f" Only the index was searched: {found.problem}." if found and found.problem else ""
    message = f"The seeds {shown(item_ids)} are unknown; allowed: {allowed}.{reason}"
    return RequestError("seeds.item_ids", item_ids, allowed, message=message)


def _vectors(vectors: list[list[float]], dimension: int) -> np.ndarray:
    for number, vector in enumerate(vectors):
        if len(vector) != dimension:
            raise RequestError(f"seeds.vectors.{number}", f"{len(vector)} numbers", f"{dimension} numbers")
    found = np.array(vectors)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(found, axis=1)
    for number, length in enumerate(lengths):
        expect_range(f"length of seeds.vectors.{number}", length, *_LENGTHS)
    return found.astype(np.float32)


def _rounds(samples: int | None, each: int, most: int) -> int:
    """How often the sampler runs for a number of samples; it averages `each` in a run."""
    rounds, rest = divmod(each if samples is None else samples, each)
    if rest or not 1 <= rounds <= most:
        raise RequestError("samples", samples, f"multiples of {each} in {each}..{most * each}")
    return rounds
