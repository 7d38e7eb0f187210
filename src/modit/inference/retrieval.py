"""Seeds to query to items: the exported sampler, then the index, as export parity and evaluation have it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from modit.core.seeds import stream
from modit.index.item_index import ItemIndex
from modit.inference.runtime import QuerySampler
from modit.inference.sampler_file import SamplerInfo

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Query:
    """What is asked of a release.

    Attributes:
        seeds: float32 [m, d], of any length and order.
        k: items wanted, >= 1.
        guidance: scale; None takes the one that the sampler was exported with.
        rounds: runs of the sampler from different noise, whose queries are averaged, >= 1.
        exclude: rows that are no answer, int64 [e].
        allowed: bool [N], the rows that may be answers; None for all. It is written to.
    """

    seeds: np.ndarray
    k: int
    guidance: float | None = None
    rounds: int = 1
    exclude: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    allowed: np.ndarray | None = None


class SearchResult(NamedTuple):
    """The answer.

    Attributes:
        query: unit float32 [d].
        rows: of the index, int64 [n], n <= k, best first.
        scores: inner products with the query, float32 [n].
    """

    query: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


class SamplerInputs(NamedTuple):
    """What a sampler is given; in the order of `sampler_file.INPUTS`.

    Attributes:
        seeds: float32 [B, M, d].
        mask: True for valid seeds, bool [B, M].
        noise: float32 [B, d].
        guidance: float32 [B].
    """

    seeds: np.ndarray
    mask: np.ndarray
    noise: np.ndarray
    guidance: np.ndarray


def retrieve(sampler: QuerySampler, index: ItemIndex, question: Query) -> SearchResult:
    """Generates a query from the seeds and searches with it.

    Raises:
        ContractError: the sampler or the index refuses a value.
    """
    return retrieve_all(sampler, index, [question])[0]


def retrieve_all(sampler: QuerySampler, index: ItemIndex, questions: Sequence[Query]) -> list[SearchResult]:
    """The same for several at once, in one run of the sampler: the queries are those of one by one to 1e-5.

    Raises:
        ContractError: the sampler or the index refuses a value.
    """
    queries = generate_queries(sampler, questions)
    return [
        SearchResult(query, *search(index, query, question.k, question.exclude, question.allowed))
        for query, question in zip(queries, questions, strict=True)
    ]


def search(
    index: ItemIndex, query: np.ndarray, k: int, exclude: np.ndarray, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of the best items [n], n <= k: fewer only if there are no more.

    Args:
        index: searched.
        query: float32 [d].
        k: items wanted, >= 1.
        exclude: rows that are no answer, int64 [e].
        allowed: bool [N], the rows that may be answers, written to; None for all.
    """
    if allowed is not None:
        allowed[exclude] = False
        k, exclude = min(k, int(np.count_nonzero(allowed))), _NO_ROWS
        if k == 0:
            return _NO_ROWS, np.empty(0, np.float32)
    found = index.search(query[None], k, allowed, exclude[None])
    there = found.rows[0] >= 0
    return found.rows[0][there], found.scores[0][there]


def generate_queries(sampler: QuerySampler, questions: Sequence[Query]) -> np.ndarray:
    """A query for each question, from noise that depends on the domain and the seeds alone, whatever their order.

    Args:
        sampler: averages its own samples in each round (docs/adr/0006).
        questions: at least one; `seeds`, `guidance` and `rounds` are used.

    Returns:
        Unit float32 [n, d].
    """
    rows = np.repeat(np.arange(len(questions)), [question.rounds for question in questions])
    queries = sampler.queries(*sampler_inputs(sampler.info, questions))
    return np.stack([_mean(queries[rows == number]) for number in range(len(questions))])


def sampler_inputs(info: SamplerInfo, questions: Sequence[Query]) -> SamplerInputs:
    """What a sampler is given for some questions: a row for each round of each, in their order."""
    rounds = [question.rounds for question in questions]
    ordered = [_in_order(question.seeds) for question in questions]
    mask = np.arange(max(map(len, ordered))) < np.array([[len(seeds)] for seeds in ordered])
    seeds = np.zeros((*mask.shape, info.dimension), np.float32)
    seeds[mask] = np.concatenate(ordered)
    scales = [info.guidance if question.guidance is None else question.guidance for question in questions]
    noise = [request_noise(info.domain, *each) for each in zip(ordered, rounds, strict=True)]
    rows = np.repeat(np.arange(len(questions)), rounds)
    return SamplerInputs(seeds[rows], mask[rows], np.concatenate(noise), np.array(scales, np.float32)[rows])


def _in_order(seeds: np.ndarray) -> np.ndarray:
    return seeds[sorted(range(len(seeds)), key=lambda row: seeds[row].tobytes())]


def _mean(queries: np.ndarray) -> np.ndarray:
    if len(queries) == 1:
        return queries[0]
    mean = queries.mean(0)
    return mean / np.linalg.norm(mean)


def request_noise(domain: str, seeds: np.ndarray, rounds: int) -> np.ndarray:
    """Noise [rounds, d]: the first rows are the same for any number of rounds.

    Args:
        domain: of the sampler.
        seeds: float32 [m, d], in a fixed order.
        rounds: how many.
    """
    name = hashlib.sha256(np.ascontiguousarray(seeds, np.float32).tobytes()).hexdigest()
    return stream(0, "retrieve", domain, name).standard_normal((rounds, seeds.shape[1]), np.float32)
