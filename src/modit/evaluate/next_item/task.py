"""The task `next_item`: cases, figures and slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from modit.data.sessions import SessionPart, Sessions, head_items, training_counts
from modit.evaluate.params import NextItemParams
from modit.evaluate.task import (
    CaseSet,
    Comparisons,
    Figure,
    Row,
    Scores,
    Slice,
    greatest,
    mean_of,
    means_by_slice,
    rows_of_kind,
)
from modit.inference.retrieval import Retriever, SearchResult
from modit.inference.sessions import SessionQuery

CUTOFFS = (5, 10)
DEPTH = max(CUTOFFS)
HEAD, TAIL, COLD = "head", "tail", "cold"
SLICES = {
    HEAD: "cases whose target is in the smallest set of items that covers {share:.0%} of the training interactions",
    TAIL: "cases whose target is another item that occurs in training",
    COLD: "cases whose target never occurs in training",
}


@dataclass(frozen=True, eq=False)
class NextItemTask:
    """A caller gives a session; NDCG@10 over all items decides.

    Attributes:
        sessions: Of the catalogue.
        items: N, number of items.
        policy: Name of the row that is compared with every other one.
        baseline: Name of the row that it is compared with in slices.
        params: Section `evaluate_next_item`.
        unconstrained: Decodes IDs without the trie, for the hallucination rate; None where no row generates IDs.
    """

    sessions: Sessions
    items: int
    policy: str
    baseline: str
    params: NextItemParams = field(default_factory=NextItemParams)
    unconstrained: Retriever[SessionQuery] | None = None

    name = "next_item"
    domain = "all"
    primary = "ndcg_at_10"
    splits = (SessionPart.TEST,)
    # Recall: whether the target is among the first K. NDCG: 1 / log2(1 + its place), 0 beyond K. Of rows that generate
    # IDs: the share of IDs that no item has, and how many items the others have.
    figures = (
        *(Figure(f"{figure}_at_{k}", compared=True) for figure in ("recall", "ndcg") for k in CUTOFFS),
        Figure("hallucination", partial=True),
        Figure("items_per_query", partial=True),
    )

    @property
    def required_models(self) -> Sequence[str]:
        """The row that is compared with the others, where it is a model."""
        return (self.policy,)

    def cases(self, split: SessionPart) -> CaseSet[SessionQuery]:
        """The cases of a part as requests; clusters are users. At most `validation_cases` or `test_cases`."""
        histories, targets, users = (getattr(self.sessions, name)(split) for name in ("histories", "targets", "users"))
        chosen = np.arange(len(targets))
        of_validation = split is SessionPart.VALIDATION
        most = self.params.validation_cases if of_validation else self.params.test_cases
        if 0 < most < len(targets):
            chosen = np.linspace(0, len(targets) - 1, most).round().astype(int)
        rows = [histories[index].astype(np.int64) for index in chosen.tolist()]
        nothing = np.empty(0, np.int64)
        requests = [SessionQuery(row, DEPTH, nothing if self.may_repeat else row) for row in rows]
        return CaseSet(requests, users[chosen], targets[chosen])

    @cached_property
    def may_repeat(self) -> bool:
        """Whether items of a session may be results: where validation targets repeat them often enough."""
        return self.sessions.repeat_share(SessionPart.VALIDATION) >= self.params.repeats_min

    def judge(self, cases: CaseSet[SessionQuery], results: Sequence[SearchResult]) -> Scores:
        """Judges one result for each case; a target that is not among the results counts as a miss."""
        places = places_of(cases.truth, results)
        scores = {f"recall_at_{k}": (places < k).astype(np.float64) for k in CUTOFFS}
        for k in CUTOFFS:
            scores[f"ndcg_at_{k}"] = np.where(places < k, 1 / np.log2(2.0 + places), 0.0)
        generated = [result.generation for result in results]
        missing = float("nan")
        scores["hallucination"] = np.array(
            [each.invalid / max(1, each.decoded) if each else missing for each in generated]
        )
        scores["items_per_query"] = np.array([float(each.items) if each else missing for each in generated])
        return scores

    def decide(self, cases: CaseSet[SessionQuery], results: Sequence[SearchResult]) -> np.ndarray:
        """NDCG@10 of one result for each case, float64 [n]."""
        return self.judge(cases, results)[self.primary]

    def comparisons(self, rows: Mapping[str, Row[SessionQuery]], scores: Mapping[str, Scores]) -> Comparisons:
        """The policy with every other row, and with the best simple row by validation."""
        others = [name for name in rows if name != self.policy]
        classical = {name: rows[name].setting["tuned"].validation for name in rows_of_kind(rows, "classical")}
        best = {"validation": greatest(classical)} if classical else {}
        return Comparisons(best, {f"{self.policy} - {name}": (self.policy, name) for name in others})

    def slices(
        self, split: SessionPart, cases: CaseSet[SessionQuery], new_items: np.ndarray | None
    ) -> list[Slice[SessionQuery]]:
        """Head, tail and cold targets."""
        share = self.params.head_share
        return [Slice(name, SLICES[name].format(share=share), mask) for name, mask in self._masks(cases).items()]

    def oracles(
        self,
        cases: CaseSet[SessionQuery],
        rows: Mapping[str, Row[SessionQuery]],
        results: Mapping[str, list[SearchResult]],
    ) -> dict[str, Scores]:
        """None: the ceiling is 1."""
        return {}

    def reason_to_skip(self, split: SessionPart) -> str | None:
        """Why there is nothing to judge, or None."""
        for part in (split, split.validation):
            if not len(self.sessions.targets(part)):
                return f"no {part} case: all {len(self.sessions.sequences)} sessions are too short"
        return None

    def facts(self) -> dict[str, Any]:
        """What the sessions are."""
        counts, training = self._counts, self.sessions.training
        return {
            "k": DEPTH,
            "items": self.items,
            "sessions": len(self.sessions.sequences),
            "sessions_left_out": self.sessions.left_out,
            "training_interactions": len(training.items),
            "head_items": int(self._head.sum()),
            "cold_items": int((counts == 0).sum()),
            "ease_items_max": self.params.ease_items_max,
            "may_repeat": self.may_repeat,
            "repeated_targets": {part.value: round(self.sessions.repeat_share(part), 4) for part in SessionPart},
        }

    def split_facts(
        self,
        split: SessionPart,
        cases: CaseSet[SessionQuery],
        rows: Mapping[str, Row[SessionQuery]],
        results: Mapping[str, list[SearchResult]],
        resamples: int,
    ) -> dict[str, Any]:
        """The figures of every row in every slice, and the hallucination rate of decoding without the trie."""
        scores = {name: self.judge(cases, found) for name, found in results.items()}
        slices = means_by_slice(scores, self._masks(cases), self.figures)
        return {"rows_by_slice": slices, "unconstrained": self._unconstrained(cases)}

    def _unconstrained(self, cases: CaseSet[SessionQuery]) -> dict[str, Any] | None:
        most = min(self.params.unconstrained_cases, len(cases))
        if self.unconstrained is None or not most:
            return None
        chosen = np.linspace(0, len(cases) - 1, most).round().astype(int)
        part = CaseSet([cases.requests[index] for index in chosen], cases.clusters[chosen], cases.truth[chosen])
        scores = self.judge(part, self.unconstrained.retrieve(part.requests))
        return {"cases": most} | {figure.name: mean_of(scores, figure) for figure in self.figures}

    def _masks(self, cases: CaseSet[SessionQuery]) -> dict[str, np.ndarray]:
        head, cold = self._head[cases.truth], self._counts[cases.truth] == 0
        return {HEAD: head, TAIL: ~head & ~cold, COLD: cold}

    @cached_property
    def _counts(self) -> np.ndarray:
        return training_counts(self.sessions.training, self.items)

    @cached_property
    def _head(self) -> np.ndarray:
        return head_items(self._counts, self.params.head_share)


def places_of(targets: np.ndarray, results: Sequence[SearchResult]) -> np.ndarray:
    """The place of each target in its result, from 0, int64 [n]; a large number where it is not there."""
    rows = np.full((len(results), DEPTH), -1, np.int64)
    for line, result in zip(rows, results, strict=True):
        line[: len(result.rows)] = result.rows[:DEPTH]
    hits = rows == np.asarray(targets)[:, None]
    return np.where(hits.any(1), hits.argmax(1), np.iinfo(np.int32).max)
