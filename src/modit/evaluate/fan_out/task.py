"""The task `fan_out`: cases, figures and slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.evaluate.fan_out.names import DIFFUSION, NO_FAN_OUT, POLICY, SERVED
from modit.evaluate.params import FanOutEvaluationParams
from modit.evaluate.task import CaseSet, Comparisons, Figure, Row, Scores, Slice, greatest, means_by_slice, rows_of_kind
from modit.fan_out.intents import items_of
from modit.fan_out.rewards import alignment, diversity, groundedness
from modit.inference.retrieval import QuerySet, SearchResult
from modit.inference.texts import TextQuery

SMALL, LARGE = "small sets", "larger sets"
SLICES = {SMALL: "intents with at most {most} items", LARGE: "intents with more than {most} items"}
_MOST = 3


@dataclass(frozen=True, eq=False)
class FanOutTask:
    """A caller gives an intent; coverage, the recall of its items in a pool of fixed size, decides.

    Attributes:
        judged: The intents of the catalogue.
        relevant_min: Least relevance that makes an item part of an intent's set.
        pool: Items that every row returns.
        items: Unit vectors of the catalogue, float32 [N, d].
        params: Section `evaluate_fan_out`.
        records: What `evaluation.json` says beside the table.
    """

    judged: JudgedQueries
    relevant_min: float
    pool: int
    items: np.ndarray
    params: FanOutEvaluationParams = field(default_factory=FanOutEvaluationParams)
    records: Mapping[str, Any] = field(default_factory=dict)

    name = "fan_out"
    domain = "all"
    primary = "coverage"
    splits = (QueryPart.TEST,)
    policy, baseline = SERVED, NO_FAN_OUT
    required_models = (POLICY, SERVED)
    figures = (
        Figure("coverage", compared=True),
        Figure("hit", compared=True),
        Figure("diversity", compared=True),
        Figure("alignment", partial=True),
        Figure("groundedness", partial=True),
        Figure("variety"),
    )

    def cases(self, split: QueryPart) -> CaseSet[TextQuery]:
        """The intents of a part as requests; clusters are equal texts, which get equal answers."""
        chosen = self._usable[split]
        most = self.params.validation_cases if split is QueryPart.VALIDATION else self.params.test_cases
        if 0 < most < len(chosen):
            chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
        texts = self.judged.texts[chosen].tolist()
        truth = [items_of(self.judged, query, self.relevant_min) for query in chosen.tolist()]
        _, clusters = np.unique([text.lower().strip() for text in texts], return_inverse=True)
        return CaseSet([TextQuery(text, self.pool) for text in texts], clusters.astype(np.int32), truth)

    def judge(self, cases: CaseSet[TextQuery], results: Sequence[SearchResult]) -> Scores:
        """Judges one result for each case.

        `variety` is the Vendi score of the mean query vectors of repeated runs, scaled to [0, 1]. Alignment and
        groundedness are those of queries; rows that reorder a list have none.
        """
        found: list[dict[str, float]] = [self._judge(result) for result in results]
        scores = {"coverage": self.decide(cases, results)}
        scores["hit"] = (scores["coverage"] > 0).astype(np.float64)
        return scores | {name: np.array([each[name] for each in found], np.float64) for name in found[0]}

    def decide(self, cases: CaseSet[TextQuery], results: Sequence[SearchResult]) -> np.ndarray:
        """The share of each intent's items that is in the pool, float64 [n]."""
        pairs = zip(cases.truth, results, strict=True)
        return np.array([np.isin(items, result.rows[: self.pool]).mean() for items, result in pairs], np.float64)

    def comparisons(self, rows: Mapping[str, Row[TextQuery]], scores: Mapping[str, Scores]) -> Comparisons:
        """What is served with every other row, then the policy and the diffusion."""
        classical = {name: rows[name].setting["tuned"].validation for name in rows_of_kind(rows, "two_stage")}
        mine = [name for name in (SERVED, POLICY, DIFFUSION) if name in rows]
        pairs = {
            f"{name} - {other}": (name, other)
            for place, name in enumerate(mine)
            for other in rows
            if other not in mine[: place + 1]
        }
        return Comparisons({"validation": greatest(classical)} if classical else {}, pairs)

    def slices(
        self, split: QueryPart, cases: CaseSet[TextQuery], new_items: np.ndarray | None
    ) -> list[Slice[TextQuery]]:
        """Intents with few and with more items."""
        return [Slice(name, SLICES[name].format(most=_MOST), mask) for name, mask in self._masks(cases).items()]

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
                return f"no {part} intent has an item of relevance {self.relevant_min:g} or more"
        return None

    def facts(self) -> dict[str, Any]:
        """What the intents are, and what was recorded beside the table."""
        parts = {part.value: len(self._usable[part]) for part in QueryPart}
        return {"pool": self.pool, "items": len(self.items), "intents": parts} | dict(self.records)

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
        usable = {
            part: [query for query in self.judged.of(part) if len(items_of(self.judged, query, self.relevant_min))]
            for part in QueryPart
        }
        return {part: np.array(queries, np.int64) for part, queries in usable.items()}

    def _masks(self, cases: CaseSet[TextQuery]) -> dict[str, np.ndarray]:
        small = np.array([len(items) <= _MOST for items in cases.truth], bool)
        return {SMALL: small, LARGE: ~small}

    def _judge(self, result: SearchResult) -> dict[str, float]:
        made = result.query_set
        assert made is not None  # noqa: S101 - every row of this task has one
        found = {
            "diversity": float(diversity(torch.from_numpy(self.items[made.first]))),
            "variety": _variety(made),
            "alignment": float("nan"),
            "groundedness": float("nan"),
        }
        if len(made.vectors):
            queries = torch.from_numpy(made.vectors)
            found["alignment"] = float(alignment(queries, torch.from_numpy(result.query)))
            nearest = (made.vectors @ self.items.T).max(1)
            found["groundedness"] = float(groundedness(torch.from_numpy(nearest)))
        return found


def _variety(made: QuerySet) -> float:
    """Vendi of the runs' means, as unit vectors; 0 for a row that answers the same each time."""
    if len(made.runs) == 1:
        return 0.0
    return float(diversity(torch.nn.functional.normalize(torch.from_numpy(made.runs), dim=-1)))
