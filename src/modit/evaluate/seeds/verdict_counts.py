"""Joint@K against the number of known verdicts: what each row makes of a hundred verdicts, a thousand, and all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modit.core.seeds import stream
from modit.evaluate import names
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.seeds.models import Generator
from modit.evaluate.seeds.queries import ClosedFormRetriever, DomainKnowledge
from modit.evaluate.task import CaseSet, Row, Task
from modit.index.searchable import SearchableIndex
from modit.inference.rerank import (
    AttributeValues,
    GoodnessValues,
    ItemValues,
    LogOdds,
    RerankRetriever,
    StoredLogOdds,
)
from modit.inference.retrieval import Query, Retriever, SearchResult
from modit.metric.attribute_model import fit_attribute_models
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import fit_on_verdicts

COUNTS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_FEWEST_OF_A_KIND = 5


@dataclass(frozen=True, eq=False)
class Informed:
    """What a part of the verdicts tells.

    Attributes:
        count: How many verdicts.
        knowledge: What closed-form queries may use.
        log_odds: Kind of attribute model -> its log-odds of items.
    """

    count: int
    knowledge: DomainKnowledge
    log_odds: Mapping[str, StoredLogOdds]


def informed_by_parts(
    verdicts: KnownVerdicts, labels: np.ndarray, index: SearchableIndex, k: int, seed: int
) -> list[Informed]:
    """Fits density, attribute and attribute models on nested parts of the verdicts; the last part is all of them.

    Args:
        verdicts: All that may be known.
        labels: The pattern of every item [N].
        index: Over all items.
        k: Neighbours that the density of an item is measured over.
        seed: Of the parts and of the models.
    """
    found = []
    for count, part in nested_parts(verdicts, seed):
        models = fit_attribute_models(part, seed)
        log_odds = {kind: StoredLogOdds.of(part.embeddings, model.log_odds) for kind, model in models.items()}
        knowledge = DomainKnowledge(part, *fit_on_verdicts(part, index, k, seed), KnownPatterns.of(part, labels))
        found.append(Informed(count, knowledge, log_odds))
    return found


def verdict_curve(
    task: Task[Query],
    cases: CaseSet[Query],
    rows: Mapping[str, Row[Query]],
    parts: Sequence[Informed],
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """Judges rows that know a part of the verdicts only.

    Settings and calibrations stay as chosen with all verdicts, and so do the weights of models: HPPO has been trained
    on all.

    Args:
        task: Judges the results.
        cases: Of a hold-out.
        rows: At their chosen settings; some closed-form and reranked rows and HPPO are taken.
        parts: As `informed_by_parts` returns them.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Returns:
        For each part, `count` and the interval of Joint@K of every row.
    """
    first = [name for name in (names.AVERAGE, names.FIXED_MOVE, names.LOCAL_FEEDBACK, names.POLICY) if name in rows]
    curve = []
    for part in parts:
        answers: dict[str, list[SearchResult]] = {}
        for name in first:
            answers |= _answers(rows, name, part, cases.requests)
        point: dict[str, Any] = {"count": part.count}
        for name in sorted(answers, key=lambda each: each not in first):
            point[name] = paired_interval(task.decide(cases, answers[name]), cases.clusters, seed, resamples)
        curve.append(point)
    return curve


def _answers(
    rows: Mapping[str, Row[Query]], name: str, part: Informed, requests: Sequence[Query]
) -> dict[str, list[SearchResult]]:
    """The lists of a row, and of the row that reranks it, if there is one: both from one run of the first stage."""
    second = rows.get(names.reranked(name))
    reranker = second and _informed(second, second.retriever, part)
    if second is None or not isinstance(reranker, RerankRetriever):
        return {name: _informed(rows[name], rows[name].retriever, part).retrieve(requests)}
    longer = reranker.first.retrieve([reranker.deeper(request) for request in requests])
    pairs = list(zip(longer, requests, strict=True))
    return {
        name: [SearchResult(found.query, found.rows[: each.k], found.scores[: each.k]) for found, each in pairs],
        second.name: [reranker.reorder(found, each) for found, each in pairs],
    }


def _informed(row: Row[Query], retriever: Retriever[Query], part: Informed) -> Retriever[Query]:
    """The retriever of a row with the knowledge of a part; a model keeps its weights and looks up that part."""
    if isinstance(retriever, ClosedFormRetriever):
        return replace(retriever, domain=part.knowledge)
    if isinstance(retriever, Generator):
        patterns = None if retriever.patterns is None else part.knowledge.patterns
        return replace(retriever, verdicts=part.knowledge.verdicts, patterns=patterns)
    if isinstance(retriever, RerankRetriever):
        raw, calibration = part.log_odds[row.setting["tuned"].setting["model"]], row.setting.get("calibration")
        log_odds = (lambda rows: calibration(raw(rows))) if calibration else raw
        values = _values_of(retriever.values, log_odds, part.knowledge.patterns)
        return replace(retriever, first=_informed(row, retriever.first, part), values=values)
    return retriever


def _values_of(values: ItemValues, log_odds: LogOdds, patterns: KnownPatterns) -> ItemValues:
    """What reorders a list, with the odds and the patterns that a part of the verdicts tells."""
    if isinstance(values, GoodnessValues):
        return GoodnessValues(log_odds, replace(values.patterns, known=patterns))
    return AttributeValues(log_odds, patterns if isinstance(values, AttributeValues) and values.within else None)


def nested_parts(verdicts: KnownVerdicts, seed: int) -> list[tuple[int, KnownVerdicts]]:
    """Parts of the known verdicts, each holding the one before; the last is all of them.

    A count whose part has fewer than five verdicts of a kind is left out.
    """
    known = np.flatnonzero(verdicts.known)
    order = stream(seed, "verdict-counts").permutation(known)
    parts = []
    for count in [*(count for count in COUNTS if count < len(known)), len(known)]:
        mask = np.zeros(len(verdicts.known), bool)
        mask[order[:count]] = True
        part = replace(verdicts, known=mask)
        if min(part.positives.sum(), part.negatives.sum()) >= _FEWEST_OF_A_KIND:
            parts.append((count, part))
    return parts
