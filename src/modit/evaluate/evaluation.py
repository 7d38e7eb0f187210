"""Judges every row of a task on both hold-outs, with intervals, comparisons and slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from modit.core.errors import ConfigError
from modit.evaluate import names
from modit.evaluate.storage import SCHEMA_VERSION, Evaluation
from modit.evaluate.task import (
    KINDS,
    BaselineModel,
    CaseSet,
    Json,
    Request,
    Row,
    Scores,
    Setting,
    Slice,
    SplitName,
    Task,
    TunableRow,
    differences,
    row_json,
)
from modit.inference.retrieval import SearchResult


@dataclass(frozen=True)
class EvaluationSettings:
    """How a domain is judged.

    Attributes:
        seed: Of the resampling.
        resamples: B of the bootstrap.
        details: Whether slices and what the task adds to a split (curves, examples) are judged, beside the rows.
    """

    seed: int = 0
    resamples: int = 10_000
    details: bool = True


@dataclass(frozen=True)
class Tuned:
    """The choice of a row's setting on validation.

    Attributes:
        setting: The chosen one; empty for a row that nothing can be chosen of.
        validation: Mean of the primary figure on the validation cases, at the chosen setting.
        tried: How many settings were tried.
    """

    setting: Setting
    validation: float
    tried: int

    def as_json(self, primary: str) -> Json:
        """The fields for `evaluation.json`."""
        return {"setting": dict(self.setting), "tried": self.tried, f"validation_{primary}": self.validation}


# Makes rows from others at their chosen settings, such as their reranked lists.
Derive = Callable[[Mapping[str, Row[Request]]], Sequence[TunableRow[Request]]]


# The rows of a hold-out by name, or why it cannot be judged.
SplitRows = Mapping[str, Row[Request]] | str


def evaluate_task(
    task: Task[Request],
    classical: Sequence[TunableRow[Request]],
    models: Sequence[Row[Request]],
    settings: EvaluationSettings,
    champion: BaselineModel[Request] | None = None,
    derive: Derive[Request] | None = None,
) -> Evaluation:
    """Chooses the settings of all rows of a domain and judges them on its held-out cases.

    Args:
        task: With its cases.
        classical: Rows that are tuned on validation; the task's baseline must be among the rows.
        models: Rows that are models; those that the task requires must be among them, others are variants.
        settings: Seed and size of the bootstrap.
        champion: A row, and what slices are compared with; without one, that is the task's baseline.
        derive: Makes further rows from the others at their chosen settings; they are tuned in the same way.

    Raises:
        ConfigError: A stage is missing or a row occurs twice.
    """
    return judge_rows(task, choose_rows(task, classical, models, champion, derive), settings, champion)


def choose_rows(
    task: Task[Request],
    classical: Sequence[TunableRow[Request]],
    models: Sequence[Row[Request]],
    champion: BaselineModel[Request] | None = None,
    derive: Derive[Request] | None = None,
) -> dict[SplitName, SplitRows[Request]]:
    """The rows of each hold-out at the settings that the validation cases of its kind prefer, in the table's order.

    A hold-out without cases, or without validation cases to choose on, has its reason instead. The arguments are those
    of `evaluate_task`.
    """
    _check_names([row.name for row in models], task.required_models)
    chosen: dict[SplitName, SplitRows[Request]] = {}
    for split in task.splits:
        if reason := task.reason_to_skip(split):
            chosen[split] = reason
            continue
        validation = task.cases(split.validation)
        rows = {row.name: row for row in [*(choose(task, row, validation) for row in classical), *models]}
        derived = [choose(task, row, validation) for row in derive(rows)] if derive else []
        others = [Row(names.CHAMPION, "champion", champion.retriever)] if champion else []
        ordered = sorted([*rows.values(), *derived, *others], key=lambda row: KINDS.index(row.kind))
        chosen[split] = {row.name: row for row in ordered}
    return chosen


def judge_rows(
    task: Task[Request],
    chosen: Mapping[SplitName, SplitRows[Request]],
    settings: EvaluationSettings,
    champion: BaselineModel[Request] | None = None,
) -> Evaluation:
    """Judges rows on the held-out cases of a task.

    Args:
        task: With its cases.
        chosen: As `choose_rows` returns it.
        settings: Seed and size of the bootstrap.
        champion: What slices are compared with; without one, that is the task's baseline.
    """
    splits: Json = {}
    per_case: dict[str, np.ndarray] = {}
    for split, rows in chosen.items():
        if isinstance(rows, str):
            splits[str(split)] = {"cases": 0, "reason": rows}
            continue
        judged = _SplitJudgement(task, split, task.cases(split), rows, settings, champion)
        splits[str(split)], arrays = judged.run()
        per_case |= arrays
    content = {
        "schema_version": SCHEMA_VERSION,
        "task": task.name,
        "domain": task.domain,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "splits": splits,
    }
    return Evaluation(content | task.facts(), per_case)


def choose(task: Task[Request], row: TunableRow[Request], validation: CaseSet[Request]) -> Row[Request]:
    """Chooses the setting of a row and makes the row at it.

    Args:
        task: Judges the results.
        row: With its grid.
        validation: Cases of the matching kind, at least one.

    Returns:
        The row; of equal settings, at the first of the grid. Its `setting` holds the choice as `tuned`.
    """
    figures = [float(task.decide(validation, results).mean()) for results in row.answers(validation.requests)]
    best = int(np.argmax(figures))
    tuned = Tuned(row.grid[best], figures[best], len(figures))
    return Row(row.name, row.kind, row.build(tuned.setting), {"tuned": tuned})


@dataclass(frozen=True, eq=False)
class _SplitJudgement(Generic[Request]):
    task: Task[Request]
    split: SplitName
    cases: CaseSet[Request]
    rows: Mapping[str, Row[Request]]
    settings: EvaluationSettings
    champion: BaselineModel[Request] | None

    @property
    def against(self) -> str:
        """The row that slices are compared with."""
        return names.CHAMPION if self.champion else self.task.baseline

    def run(self) -> tuple[Json, dict[str, np.ndarray]]:
        results = {name: row.retriever.retrieve(self.cases.requests) for name, row in self.rows.items()}
        scores = {name: self.task.judge(self.cases, found) for name, found in results.items()}
        oracles = self.task.oracles(self.cases, self.rows, results)
        content = {
            "cases": len(self.cases),
            "patterns": len(np.unique(self.cases.clusters)),
            "validation_cases": len(self.task.cases(self.split.validation)),
            "rows": self._table(scores, oracles),
        } | self._comparisons(scores)
        if self.settings.details:
            content |= {"slices_against": self.against, "slices": self._slices(scores)}
            content |= self.task.split_facts(self.split, self.cases, self.rows, results, self.settings.resamples)
        return content, self._per_case(scores | oracles)

    def _table(self, scores: Mapping[str, Scores], oracles: Mapping[str, Scores]) -> list[Json]:
        table = []
        for name, value in {**scores, **oracles}.items():
            row = self.rows.get(name)
            kind = row.kind if row else "oracle"
            line = row_json(name, kind, value, self.task.figures, self.cases.clusters, *self._resampling)
            setting = row.setting if row else {}
            tuned = setting.get("tuned")
            line["tuned"] = tuned.as_json(self.task.primary) if tuned else None
            line["guidance"] = setting.get("guidance")
            table.append(line)
        return table

    def _comparisons(self, scores: Mapping[str, Scores]) -> Json:
        found = self.task.comparisons(self.rows, scores)
        return {
            "best_classical": found.best,
            "comparisons": [
                {"name": name, "row": row, "against": other} | self._differences(scores[row], scores[other], None)
                for name, (row, other) in found.pairs.items()
            ],
        }

    def _slices(self, scores: Mapping[str, Scores]) -> list[Json]:
        new_items = self.champion.new_items if self.champion else None
        return [self._slice(part, scores) for part in self.task.slices(self.split, self.cases, new_items)]

    def _slice(self, part: Slice[Request], scores: Mapping[str, Scores]) -> Json:
        entry = {"name": part.name, "definition": part.definition, "cases": 0}
        if part.reason:
            return entry | {"reason": part.reason}
        mine, other = scores[self.task.policy], scores[self.against]
        clusters = self.cases.clusters
        if part.mask is not None:
            mine, other = ({name: values[part.mask] for name, values in each.items()} for each in (mine, other))
            clusters = clusters[part.mask]
        elif part.cases is not None:
            mine, other = (self._judge_anew(name, part.cases) for name in (self.task.policy, self.against))
            clusters = part.cases.clusters
        if not len(clusters):
            return entry | {"reason": "no case belongs to it"}
        means = {figure.name: float(mine[figure.name].mean()) for figure in self.task.figures if figure.compared}
        facts = {"cases": len(clusters), "patterns": len(np.unique(clusters))}
        return entry | facts | means | {"difference": self._differences(mine, other, clusters)}

    def _judge_anew(self, row: str, cases: CaseSet[Request]) -> Scores:
        results: list[SearchResult] = self.rows[row].retriever.retrieve(cases.requests)
        return self.task.judge(cases, results)

    def _differences(self, mine: Scores, other: Scores, clusters: np.ndarray | None) -> Json:
        resampled = self.cases.clusters if clusters is None else clusters
        return differences(mine, other, self.task.figures, resampled, *self._resampling)

    @property
    def _resampling(self) -> tuple[int, int]:
        return self.settings.seed, self.settings.resamples

    def _per_case(self, scores: Mapping[str, Scores]) -> dict[str, np.ndarray]:
        compared = [figure.name for figure in self.task.figures if figure.compared]
        arrays = {f"{self.split}/patterns": self.cases.clusters}
        return arrays | {
            f"{self.split}/{name}/{figure}": value[figure] for name, value in scores.items() for figure in compared
        }


def headline(content: dict[str, Any], primary: str) -> dict[str, Any]:
    """The primary figure of each split's comparisons by name, or why a split was skipped, for the manifest."""
    return {
        split: {entry["name"]: round(entry[primary]["mean"], 4) for entry in result["comparisons"]}
        if result["cases"]
        else result["reason"]
        for split, result in content["splits"].items()
    }


def _check_names(found: list[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in found]
    if missing or len(set(found)) < len(found):
        raise ConfigError(f"rows of models are {found}; allowed: each name once, {', '.join(required)} among them")
