"""What the evaluation of a domain works on, and the judging of queries against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from modit.data.catalog import Catalog
from modit.evaluate.baselines import BaselineContext
from modit.evaluate.metrics import within_pattern_auc
from modit.index.item_index import ItemIndex
from modit.metric.cases import Cases
from modit.metric.list_metrics import list_metrics
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor, DomainGeometry


@dataclass(frozen=True)
class World:
    """One domain as the evaluation sees it.

    Attributes:
        catalog: items, titles and the scorer's verdicts.
        domain: name of the attribute domain.
        patterns: of the domain.
        predictor: the density predictor.
        geometry: of the domain.
        index: the whole catalogue.
        cases: split name -> cases.
        k: results judged for a query.
        validation_k: results judged on validation, where test items are hidden: the same share of what can be found.
    """

    catalog: Catalog
    domain: str
    patterns: Patterns
    predictor: DensityPredictor
    geometry: DomainGeometry
    index: ItemIndex
    cases: Mapping[str, Cases]
    k: int
    validation_k: int

    @property
    def positive(self) -> np.ndarray:
        """The scorer's verdict of every item, bool [N]."""
        return self.catalog.positive(self.domain)

    @cached_property
    def baseline_context(self) -> BaselineContext:
        """What the classical rows may use."""
        return BaselineContext(self.catalog.embeddings, self.positive, self.patterns.trainable, self.predictor)


class CaseScores(NamedTuple):
    """Figures of each case [n]; all in [0, 1].

    Attributes:
        auc: chance that a tail item scores above a seed (0.5: the query leans neither way).
        attr: Attr@K.
        same: Same@K.
        joint: Joint@K, the primary figure.
        cond: Cond@K; NaN where no result has the attribute.
    """

    auc: np.ndarray
    attr: np.ndarray
    same: np.ndarray
    joint: np.ndarray
    cond: np.ndarray


def first_cases_of(cases: Cases, count: int) -> Cases:
    """The first `count` cases; cases take turns over the patterns, so these are stratified too."""
    return Cases(cases.seeds[:count], cases.tails[:count], cases.patterns[:count])


def retrieve(world: World, cases: Cases, queries: np.ndarray, exclude_seeds: bool = True) -> np.ndarray:
    """The K results of each case's query over the whole catalogue, rows [n, K].

    Args:
        world: of the domain.
        cases: n cases; all their seeds are left out of the results.
        queries: unit [n, d].
        exclude_seeds: False counts seeds as results; only to show what that would change.
    """
    exclude = cases.seeds if exclude_seeds else None
    return world.index.search(queries, world.k, exclude=exclude).rows


def judge(world: World, cases: Cases, queries: np.ndarray, exclude_seeds: bool = True) -> CaseScores:
    """Searches and scores one query for each case; arguments as in `retrieve`."""
    rows = retrieve(world, cases, queries, exclude_seeds)
    metrics = list_metrics(rows, world.positive, world.patterns.labels, cases.patterns)
    embeddings = world.catalog.embeddings
    tails = [np.asarray(embeddings[rows[rows >= 0]]) for rows in cases.tails]
    inputs = [np.asarray(embeddings[rows[rows >= 0]]) for rows in cases.seeds]
    return CaseScores(
        within_pattern_auc(queries, tails, inputs), metrics.attr, metrics.same, metrics.joint, metrics.cond
    )


def joint_of(world: World, cases: Cases, queries: np.ndarray) -> np.ndarray:
    """Joint@K alone [n]."""
    rows = retrieve(world, cases, queries)
    return list_metrics(rows, world.positive, world.patterns.labels, cases.patterns).joint


def validation_joint(world: World, cases: Cases, queries: np.ndarray) -> float:
    """Mean Joint on validation cases, searched without the test items: what choices compare."""
    visible = world.patterns.visible_for_validation
    rows = world.index.search(queries, world.validation_k, allowed=visible, exclude=cases.seeds).rows
    return float(list_metrics(rows, world.positive, world.patterns.labels, cases.patterns).joint.mean())
