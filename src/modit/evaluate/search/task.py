"""The task `search`: cases, figures and slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.ngrams import words_of
from modit.evaluate.params import SearchParams
from modit.evaluate.search.names import BM25, FUSED, SYMMALIGNER
from modit.evaluate.task import (
    CaseSet,
    Comparisons,
    Figure,
    Row,
    Scores,
    Slice,
    greatest,
    means_by_slice,
    rows_of_kind,
)
from modit.inference.retrieval import SearchResult
from modit.inference.texts import TextQuery

CUTOFFS = (10, 100)
DEPTH = max(CUTOFFS)
NDCG_AT = 10
RARE, FREQUENT = "rare", "frequent"
SLICES = {
    RARE: "queries with a word that is in at most {most} training queries",
    FREQUENT: "queries whose every word is in more than {most} training queries",
}


class Judgement(NamedTuple):
    """What is known of a query's items.

    Attributes:
        items: Rows that were judged, int64 [m].
        gains: 2^(relevance - least relevance of the catalogue) - 1, float64 [m].
        relevant: Rows that count as relevant, int64 [r], r >= 1.
    """

    items: np.ndarray
    gains: np.ndarray
    relevant: np.ndarray


@dataclass(frozen=True, eq=False)
class SearchTask:
    """A caller gives a text; NDCG@10 over the judged items of the query decides.

    A case is a query with a relevant item and a judged item of another relevance: elsewhere no order is wrong.

    Attributes:
        judged: The queries of the catalogue.
        relevant_min: Least relevance that counts as relevant.
        params: Section `evaluate_search`.
        records: What `evaluation.json` says beside the table.
    """

    judged: JudgedQueries
    relevant_min: float
    params: SearchParams = field(default_factory=SearchParams)
    records: Mapping[str, Any] = field(default_factory=dict)

    name = "search"
    domain = "all"
    primary = "ndcg_at_10"
    splits = (QueryPart.TEST,)
    policy, baseline = FUSED, BM25
    required_models = (SYMMALIGNER, FUSED)
    figures = (Figure("ndcg_at_10", compared=True), *(Figure(f"recall_at_{k}", compared=True) for k in CUTOFFS))

    def cases(self, split: QueryPart) -> CaseSet[TextQuery]:
        """The queries of a part as requests, at most `validation_cases` or `test_cases`; clusters are queries."""
        chosen = self._usable[split]
        most = self.params.validation_cases if split is QueryPart.VALIDATION else self.params.test_cases
        if 0 < most < len(chosen):
            chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
        truth = [self._judgement(query) for query in chosen.tolist()]
        texts = self.judged.texts[chosen].tolist()
        requests = [TextQuery(text, DEPTH, each.items) for text, each in zip(texts, truth, strict=True)]
        return CaseSet(requests, chosen.astype(np.int32), truth)

    def judge(self, cases: CaseSet[TextQuery], results: Sequence[SearchResult]) -> Scores:
        """Judges one result for each case."""
        scores = {"ndcg_at_10": self.decide(cases, results)}
        for k in CUTOFFS:
            hits = [np.isin(truth.relevant, result.rows[:k]).mean() for truth, result in _pairs(cases, results)]
            scores[f"recall_at_{k}"] = np.array(hits, np.float64)
        return scores

    def decide(self, cases: CaseSet[TextQuery], results: Sequence[SearchResult]) -> np.ndarray:
        """NDCG@10 over the judged items of each query, ranked by the row's scores, float64 [n]."""
        return np.array([ndcg(truth.gains, result.judged) for truth, result in _pairs(cases, results)], np.float64)

    def comparisons(self, rows: Mapping[str, Row[TextQuery]], scores: Mapping[str, Scores]) -> Comparisons:
        """The fused row and the aligned towers with every other row."""
        classical = {name: rows[name].setting["tuned"].validation for name in rows_of_kind(rows, "classical")}
        pairs = {
            f"{mine} - {name}": (mine, name)
            for mine in (self.policy, SYMMALIGNER)
            for name in rows
            if name not in (mine, self.policy)
        }
        return Comparisons({"validation": greatest(classical)} if classical else {}, pairs)

    def slices(
        self, split: QueryPart, cases: CaseSet[TextQuery], new_items: np.ndarray | None
    ) -> list[Slice[TextQuery]]:
        """Rare and frequent queries."""
        most = self.params.rare_max
        return [Slice(name, SLICES[name].format(most=most), mask) for name, mask in self._masks(cases).items()]

    def oracles(
        self,
        cases: CaseSet[TextQuery],
        rows: Mapping[str, Row[TextQuery]],
        results: Mapping[str, list[SearchResult]],
    ) -> dict[str, Scores]:
        """None: the ceiling is 1."""
        return {}

    def reason_to_skip(self, split: QueryPart) -> str | None:
        """Why there is nothing to judge, or None."""
        for part in (split, split.validation):
            if not len(self._usable[part]):
                return f"no {part} query has a relevant item (relevance {self.relevant_min:g} or more) and another one"
        return None

    def facts(self) -> dict[str, Any]:
        """What the queries are, and what was recorded beside the table."""
        parts = {
            part.value: {"queries": len(self.judged.of(part)), "cases": len(self._usable[part])} for part in QueryPart
        }
        return {"k": DEPTH, "relevant_min": self.relevant_min, "queries": parts} | dict(self.records)

    def split_facts(
        self,
        split: QueryPart,
        cases: CaseSet[TextQuery],
        rows: Mapping[str, Row[TextQuery]],
        results: Mapping[str, list[SearchResult]],
        resamples: int,
    ) -> dict[str, Any]:
        """The figures of every row in every slice."""
        scores = {name: self.judge(cases, found) for name, found in results.items()}
        return {"rows_by_slice": means_by_slice(scores, self._masks(cases), self.figures)}

    @cached_property
    def _usable(self) -> dict[QueryPart, np.ndarray]:
        usable = {part: [query for query in self.judged.of(part) if self._is_case(query)] for part in QueryPart}
        return {part: np.array(queries, np.int64) for part, queries in usable.items()}

    def _is_case(self, query: int) -> bool:
        _, relevance = self.judged.labels(query)
        return bool(len(relevance) and relevance.max() >= self.relevant_min and relevance.min() < relevance.max())

    def _judgement(self, query: int) -> Judgement:
        items, relevance = self.judged.labels(query)
        gains = np.exp2(relevance.astype(np.float64) - self._least) - 1
        return Judgement(items.astype(np.int64), gains, items[relevance >= self.relevant_min].astype(np.int64))

    @cached_property
    def _least(self) -> float:
        return float(self.judged.relevance.min())

    @cached_property
    def _word_counts(self) -> Counter[str]:
        texts = self.judged.texts[self.judged.of(QueryPart.TRAIN)].tolist()
        return Counter(word for text in texts for word in set(words_of(text)))

    def _masks(self, cases: CaseSet[TextQuery]) -> dict[str, np.ndarray]:
        rarest = [min(self._word_counts[word] for word in words_of(request.text)) for request in cases.requests]
        rare = np.array(rarest, np.int64) <= self.params.rare_max
        return {RARE: rare, FREQUENT: ~rare}


def ndcg(gains: np.ndarray, scores: np.ndarray | None, k: int = NDCG_AT) -> float:
    """NDCG@k of a judged list: its gains in the order of the scores over those in the best order.

    Args:
        gains: Of the judged items, >= 0, at least one above 0 [m].
        scores: What a row gives these items [m]; of equal scores each gets the mean of their gains.
        k: Cut-off.

    Returns:
        A number in [0, 1].
    """
    assert scores is not None  # noqa: S101 - every row of this task answers them
    _, place = np.unique(-scores, return_inverse=True)
    shared = (np.bincount(place, gains) / np.bincount(place))[place]
    discounts = 1 / np.log2(2.0 + np.arange(min(k, len(gains))))
    order = np.argsort(place, kind="stable")[: len(discounts)]
    best = np.sort(gains)[::-1][: len(discounts)]
    return float((shared[order] * discounts).sum() / (best * discounts).sum())


def _pairs(cases: CaseSet[TextQuery], results: Sequence[SearchResult]) -> list[tuple[Judgement, SearchResult]]:
    return list(zip(cases.truth, results, strict=True))
