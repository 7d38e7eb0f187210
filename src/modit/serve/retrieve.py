"""The task of `/v1/retrieve`: seeds in, items out that have the attribute of a domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modit.inference.rerank import RerankRetriever
from modit.inference.retrieval import Query, SearchResult
from modit.release.bundle.release import SeedsRelease
from modit.serve.feature_seeds import FeatureSeeds, FoundVectors
from modit.serve.metrics import SEEDS
from modit.serve.schema import (
    RequestError,
    ResultItem,
    RetrieveAnswer,
    RetrieveRequest,
    SeedSource,
    expect_range,
    shown,
)
from modit.serve.settings import Limits
from modit.serve.task_items import answer_fields, candidates_of, item_fields, probabilities_at, values_at
from modit.serve.tasks import Placed, TaskQuery

_LENGTHS = (1e-6, 1e6)  # far from where squares of float32 vanish or overflow


@dataclass(frozen=True)
class SeedQuery(TaskQuery[RetrieveRequest]):
    """A request with seeds that was read.

    Attributes:
        query: what is asked of the release.
        rows: of the seeds in the index, int64 [m], -1 for one that it does not have; empty where vectors were given.
        source: where the vectors of the seeds were read; None where vectors were given.
        reranker: reorders the list; None where it is not reranked.
    """

    query: Query
    rows: np.ndarray
    source: SeedSource | None
    reranker: RerankRetriever | None


class RetrieveTask:
    """Answers requests with seeds."""

    def __init__(self, limits: Limits, features: FeatureSeeds | None = None) -> None:
        """Prepares to answer.

        Args:
            limits: of a request.
            features: the online store that seeds are read from first; None reads them from the bundle.
        """
        self.limits, self._features = limits, features

    def read(self, placed: Sequence[Placed[RetrieveRequest]], release: SeedsRelease) -> list[SeedQuery]:
        """Reads requests of one domain, with one look-up in the feature store for all of them.

        Raises:
            RequestError: a value is not allowed; its place in the batch is part of the field.
        """
        for each in placed:
            with each.refusals():
                _check_seeds(each.request, release)
        ids = [item_id for each in placed for item_id in each.request.seeds.item_ids or ()]
        found = self._features.find(ids, release) if ids and self._features else None
        queries = []
        for each in placed:
            with each.refusals():
                queries.append(self._query(each.request, release, found))
        return queries

    def search(self, queries: Sequence[SeedQuery], release: SeedsRelease) -> list[SearchResult]:
        """Runs the sampler once for all queries, searches the index with each of its vectors, and reranks lists."""
        lists = release.retriever.retrieve(
            [each.reranker.deeper(each.query) if each.reranker else each.query for each in queries]
        )
        return [
            each.reranker.reorder(found, each.query) if each.reranker else found
            for each, found in zip(queries, lists, strict=True)
        ]

    def answer(self, query: SeedQuery, result: SearchResult, release: SeedsRelease) -> RetrieveAnswer:
        """Makes the answer for the caller, and counts its seeds."""
        fields = answer_fields(release) | {"items": _result_items(result, release), "domain": release.source.domain}
        fields |= {"trained": release.untrained is None, "reranked": query.reranker is not None}
        if query.request.return_query:
            fields["query"] = result.query.tolist()
        if source := query.source:
            fields["seed_source"] = source
            SEEDS.labels("features").inc(source.features)
            SEEDS.labels("bundle").inc(source.bundle)
        return RetrieveAnswer(**fields)

    def _query(self, request: RetrieveRequest, release: SeedsRelease, found: FoundVectors | None) -> SeedQuery:
        seeds, sampler = request.seeds, release.sampler.info
        rows, source = release.items.rows_of(seeds.item_ids or []), None
        if seeds.vectors is not None:
            vectors = _given_vectors(seeds.vectors, sampler.dimension)
        else:
            vectors, source = _vectors_of(seeds.item_ids or [], rows, release, found)
        if request.guidance is not None:
            expect_range("guidance", request.guidance, 0, self.limits.guidance)
        exclude, allowed = candidates_of(request, release.items, self.limits, rows[rows >= 0])
        rounds = _rounds(request.samples, sampler.samples, self.limits.rounds)
        query = Query(vectors, request.k, request.guidance, rounds, exclude, allowed)
        anchors = [(each, row) for each, row in zip(seeds.item_ids or (), rows.tolist(), strict=True) if row >= 0]
        return SeedQuery(request, len(vectors), anchors, query, rows, source, _reranker(request.rerank, release))


def _result_items(result: SearchResult, release: SeedsRelease) -> list[ResultItem]:
    verdicts = values_at(release.items.verdicts(release.source.domain), result.rows)
    chances = probabilities_at(release, result.rows, verdicts)
    columns = zip(item_fields(result, release.items), verdicts, chances, strict=True)
    return [ResultItem(**fields, verdict=verdict, probability=chance) for fields, verdict, chance in columns]


def _check_seeds(request: RetrieveRequest, release: SeedsRelease) -> None:
    """Checks what can be checked before anything is looked up."""
    ids, vectors = request.seeds.item_ids, request.seeds.vectors
    if (ids is None) == (vectors is None):
        found = "neither" if vectors is None else "both"
        message = f"The seeds have {found} of item_ids and vectors; exactly one of them is needed."
        raise RequestError("seeds", found, "either item_ids or vectors", message=message)
    name = "item_ids" if vectors is None else "vectors"
    expect_range(f"number of seeds.{name}", len(ids or vectors or ()), 1, release.sampler.info.maximum_seeds)
    if ids and len(set(ids)) < len(ids):
        raise RequestError("seeds.item_ids", ids, "each id once")


def _vectors_of(
    item_ids: list[str], rows: np.ndarray, release: SeedsRelease, found: FoundVectors | None
) -> tuple[np.ndarray, SeedSource]:
    """Vectors of seeds, float32 [m, d]: those of the feature store first, then those of the bundle."""
    online, problem = found or FoundVectors({}, None)
    if unknown := [each for each, row in zip(item_ids, rows, strict=True) if row < 0 and each not in online]:
        allowed = f"ids of {'the feature store or of ' if found else ''}the index of {release.label}"
        reason = f" Only the index was searched: {problem}." if problem else ""
        message = f"The seeds {shown(unknown)} are unknown; allowed: {allowed}.{reason}"
        raise RequestError("seeds.item_ids", unknown, allowed, message=message)
    stored = release.items.embeddings
    vectors = [online[each] if each in online else stored[row] for each, row in zip(item_ids, rows, strict=True)]
    features = sum(each in online for each in item_ids)
    source = SeedSource(features=features, bundle=len(item_ids) - features, **({"problem": problem} if problem else {}))
    return np.array(vectors, np.float32), source


def _given_vectors(vectors: list[list[float]], dimension: int) -> np.ndarray:
    for number, vector in enumerate(vectors):
        if len(vector) != dimension:
            raise RequestError(f"seeds.vectors.{number}", f"{len(vector)} numbers", f"{dimension} numbers")
    found = np.array(vectors)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(found, axis=1)
    for number, length in enumerate(lengths):
        expect_range(f"length of seeds.vectors.{number}", length, *_LENGTHS)
    return found.astype(np.float32)


def _reranker(wanted: bool | None, release: SeedsRelease) -> RerankRetriever | None:
    """What reranks the list of a request; None where it is not reranked."""
    stage = release.second_stage
    if wanted and stage is None:
        label, allowed = release.label, "false, or nothing"
        message = f"{label} has no second stage, so its lists cannot be reranked; allowed: {allowed}."
        raise RequestError("rerank", wanted, allowed, message=message)
    on = stage is not None and (stage.enabled if wanted is None else wanted)
    return stage.retriever if stage and on else None


def _rounds(samples: int | None, each: int, most: int) -> int:
    """How often the sampler runs for a number of samples; it averages `each` in a run."""
    rounds, rest = divmod(each if samples is None else samples, each)
    if rest or not 1 <= rounds <= most:
        raise RequestError("samples", samples, f"multiples of {each} in {each}..{most * each}")
    return rounds
