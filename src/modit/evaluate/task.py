"""What a task is, and the rows that are compared on it. A new task needs no other evaluation, bootstrap or report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np

from modit.evaluate.bootstrap import paired_interval
from modit.inference.retrieval import Retriever, SearchResult

Request = TypeVar("Request")
Asked = TypeVar("Asked", contravariant=True)
Json = dict[str, Any]
# A member of a task's enumeration of case sets, such as `Split`: a text with the `validation` set of the same kind.
SplitName = Any
# Figures of each case, name -> float64 [n].
Scores = dict[str, np.ndarray]
# What a row was set to, by name; every number or word in it was chosen on validation cases.
Setting = Mapping[str, Any]
# `classical` rows answer with one query, `two_stage` ones rerank the list of a classical one.
Kind = Literal["classical", "two_stage", "model", "champion", "oracle"]
# In the order of the table.
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Figure:
    """A figure by which a result list is judged.

    Attributes:
        name: Key in `evaluation.json`.
        compared: Whether rows are compared by it: it gets intervals, and its value of each case is kept.
        partial: Whether it is NaN for some cases; its mean is over the others, and their number is kept.
    """

    name: str
    compared: bool = False
    partial: bool = False


@dataclass(frozen=True, eq=False)
class CaseSet(Generic[Request]):
    """Cases of one split.

    Attributes:
        requests: What a retriever is asked, one for each case.
        clusters: int32 [n], what is resampled: cases of one cluster, such as a pattern, are not independent.
        truth: What the task judges the results with.
    """

    requests: Sequence[Request]
    clusters: np.ndarray
    truth: Any

    def __len__(self) -> int:
        return len(self.requests)


@dataclass(frozen=True, eq=False)
class Slice(Generic[Request]):
    """A part of a split that is judged by itself.

    Attributes:
        name: Of the slice.
        definition: Which cases belong to it.
        mask: bool [n] over the cases of the split; None where the slice has cases of its own.
        cases: Cases of its own, which the rows are asked anew.
        reason: Why there is no such slice here; None where there is one.
    """

    name: str
    definition: str
    mask: np.ndarray | None = None
    cases: CaseSet[Request] | None = None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Row(Generic[Request]):
    """A row of the table that answers requests.

    Attributes:
        name: Of the row.
        kind: Of the row.
        retriever: Answers the requests.
        setting: What `evaluation.json` says of how it was set: `tuned`, `guidance`.
    """

    name: str
    kind: Kind
    retriever: Retriever[Request]
    setting: Json = field(default_factory=dict)


class TunableRow(Protocol[Asked]):
    """A row whose setting is chosen on validation cases."""

    @property
    def name(self) -> str:
        """Name of the row."""

    @property
    def kind(self) -> Kind:
        """Kind of the row."""

    @property
    def grid(self) -> Sequence[Setting]:
        """Settings to choose from, at least one."""

    def build(self, setting: Setting) -> Retriever[Asked]:
        """Makes the retriever for a setting."""

    def answers(self, requests: Sequence[Asked]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting of the grid in turn; work that settings share is done once."""


@dataclass(frozen=True)
class Comparisons:
    """Which rows of a split are compared.

    Attributes:
        best: What `evaluation.json` says of the best rows, by name.
        pairs: Name of the comparison -> the row, and the row that it is compared with.
    """

    best: Json
    pairs: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, eq=False)
class BaselineModel(Generic[Request]):
    """The champion that answers today, as a row.

    Attributes:
        retriever: Answers the requests, in today's index.
        new_items: bool [N], items of the catalogue that the champion's own catalogue did not have.
    """

    retriever: Retriever[Request]
    new_items: np.ndarray


class Task(Protocol[Request]):
    """What a caller gives, and how an answer is judged."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def domain(self) -> str:
        """Domain of the cases."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures by which a result list is judged."""

    @property
    def primary(self) -> str:
        """Name of the figure that decides."""

    @property
    def splits(self) -> Sequence[SplitName]:
        """The hold-outs that are judged."""

    @property
    def policy(self) -> str:
        """Name of the row that slices are about."""

    @property
    def baseline(self) -> str:
        """Name of the row that slices are compared with where there is no champion."""

    @property
    def required_models(self) -> Sequence[str]:
        """Names of models that must be among the rows."""

    def cases(self, split: SplitName) -> CaseSet[Request]:
        """The cases of a split; no result of a validation split is a test item."""

    def judge(self, cases: CaseSet[Request], results: Sequence[SearchResult]) -> Scores:
        """Judges one result for each case."""

    def decide(self, cases: CaseSet[Request], results: Sequence[SearchResult]) -> np.ndarray:
        """The primary figure alone of one result for each case, float64 [n]; settings are chosen by its mean."""

    def comparisons(self, rows: Mapping[str, Row[Request]], scores: Mapping[str, Scores]) -> Comparisons:
        """The rows of a split that are compared with each other."""

    def slices(self, split: SplitName, cases: CaseSet[Request], new_items: np.ndarray | None) -> list[Slice[Request]]:
        """The slices of a split."""

    def oracles(
        self, cases: CaseSet[Request], rows: Mapping[str, Row[Request]], results: Mapping[str, list[SearchResult]]
    ) -> dict[str, Scores]:
        """Rows that look at the truth: ceilings, not competitors."""

    def reason_to_skip(self, split: SplitName) -> str | None:
        """Why a split cannot be judged, or None."""

    def facts(self) -> Json:
        """What `evaluation.json` says of the task as a whole."""

    def split_facts(
        self,
        split: SplitName,
        cases: CaseSet[Request],
        rows: Mapping[str, Row[Request]],
        results: Mapping[str, list[SearchResult]],
        resamples: int,
    ) -> Json:
        """What `evaluation.json` says of a split beside rows, comparisons and slices."""


def mean_of(scores: Scores, figure: Figure) -> float | None:
    """The mean of a figure over the cases that have it; None where none has."""
    values = scores[figure.name]
    known = values[~np.isnan(values)] if figure.partial else values
    return float(known.mean()) if len(known) else None


def means_by_slice(
    results: Mapping[str, Scores], masks: Mapping[str, np.ndarray], figures: Sequence[Figure]
) -> dict[str, Json]:
    """Slice -> row -> the mean of each compared figure, and `cases`, their number; empty slices are left out.

    Args:
        results: Scores of each row.
        masks: Cases of each slice, bool [n].
        figures: Of the task.
    """
    compared = [figure.name for figure in figures if figure.compared]
    return {
        part: {row: {name: float(scores[name][mask].mean()) for name in compared} for row, scores in results.items()}
        | {"cases": int(mask.sum())}
        for part, mask in masks.items()
        if mask.any()
    }


def row_json(
    name: str, kind: Kind, scores: Scores, figures: Sequence[Figure], clusters: np.ndarray, seed: int, resamples: int
) -> Json:
    """A row of the table: the mean of each figure, and intervals of those that rows are compared by."""
    row: Json = {"name": name, "kind": kind} | {figure.name: mean_of(scores, figure) for figure in figures}
    for figure in figures:
        if figure.partial:
            row[f"{figure.name}_cases"] = int((~np.isnan(scores[figure.name])).sum())
        if figure.compared:
            row[f"{figure.name}_interval"] = paired_interval(scores[figure.name], clusters, seed, resamples)
    return row


def differences(
    scores: Scores, other: Scores, figures: Sequence[Figure], clusters: np.ndarray, seed: int, resamples: int
) -> Json:
    """The paired difference of each compared figure, with its intervals."""
    return {
        figure.name: paired_interval(scores[figure.name] - other[figure.name], clusters, seed, resamples)
        for figure in figures
        if figure.compared
    }


def rows_of_kind(rows: Mapping[str, Row[Any]], kind: Kind) -> list[str]:
    """The names of the rows of a kind, in their order."""
    return [name for name, row in rows.items() if row.kind == kind]


def greatest(figures: Mapping[str, float]) -> str:
    """The name of the greatest figure, the first of equals."""
    return max(figures, key=lambda name: figures[name])
