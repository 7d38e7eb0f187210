"""Rows of the task `seeds`: classical ones, which a user would try before training anything, and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from modit.data.splits import VALIDATIONS
from modit.data.vectors import unit
from modit.evaluate import names
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator, fan_queries
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.task import Row, TunableRow
from modit.index.item_index import ItemIndex
from modit.inference.retrieval import Query, SearchResult, padded_seeds, search_together
from modit.metric.predictor import DensityPredictor
from modit.model.axes import Geometry
from modit.model.sampler import Sampler
from modit.train.checkpoint import load_model
from modit.train.params import SamplerParams

# Weight 0 is average pooling; at 10 a query is within 6 degrees of the limit: both ends of the grid are natural ones.
_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
# From the one best seed of each case (shares below 1/m) to all of them, which is average pooling.
_SHARES = (0.001, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class TrainingItems:
    """What classical rows may learn from: training items only.

    Attributes:
        embeddings: [N, d].
        positive: bool [N].
        trainable: bool [N].
        predictor: The domain's density predictor.
    """

    embeddings: np.ndarray
    positive: np.ndarray
    trainable: np.ndarray
    predictor: DensityPredictor

    @cached_property
    def positive_centroid(self) -> np.ndarray:
        """Unit mean of all training positives [d]."""
        return unit(np.asarray(self.embeddings[self.positive & self.trainable]).mean(0))


# Training items, requests and the free number to unit queries [n, d].
Rule = Callable[[TrainingItems, Sequence[Query], float], np.ndarray]


def average_pooling(items: TrainingItems, requests: Sequence[Query], _: float = 0.0) -> np.ndarray:
    """Takes the mean of the seeds."""
    return unit(padded_seeds(requests)[0].sum(1))


def global_attribute_centroid(items: TrainingItems, requests: Sequence[Query], _: float = 0.0) -> np.ndarray:
    """Retrieves by the attribute alone: the same query for every request."""
    return np.repeat(items.positive_centroid[None], len(requests), 0)


def rocchio(items: TrainingItems, requests: Sequence[Query], weight: float) -> np.ndarray:
    """Adds `weight` times the centroid of all training positives to the seeds' mean (Rocchio 1971, no negatives)."""
    return unit(average_pooling(items, requests) + weight * items.positive_centroid)


def density_step(items: TrainingItems, requests: Sequence[Query], weight: float) -> np.ndarray:
    """Moves the seeds' mean by `weight` along the unit direction of the density predictor."""
    return unit(average_pooling(items, requests) + weight * unit(items.predictor.direction))


def best_scored_seeds(items: TrainingItems, requests: Sequence[Query], share: float) -> np.ndarray:
    """Takes the mean of the `share` of the seeds with the highest predicted density, at least one."""
    seeds, mask = padded_seeds(requests)
    score = np.where(mask, items.predictor.predict(seeds), -np.inf)
    counts = np.maximum(1, np.round(share * mask.sum(1))).astype(int)
    # Of equal scores the later seed counts as the higher one, as in the cases' ascending order.
    rank = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1, kind="stable")
    kept = rank >= mask.shape[1] - counts[:, None]
    return unit((seeds * kept[..., None]).sum(1))


RULES: dict[str, tuple[Rule, tuple[float, ...]]] = {
    names.AVERAGE: (average_pooling, ()),
    "Global attribute centroid": (global_attribute_centroid, ()),
    "Rocchio": (rocchio, _WEIGHTS),
    "Density step": (density_step, _WEIGHTS),
    "Best-scored seeds": (best_scored_seeds, _SHARES),
}


@dataclass(frozen=True, eq=False)
class ClassicalRetriever:
    """A rule at a value of its free number.

    Attributes:
        rule: Makes the queries.
        items: What the rule may use.
        index: Searched.
        value: The free number.
    """

    rule: Rule
    items: TrainingItems
    index: ItemIndex
    value: float = 0.0

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers requests that share `k` and `allowed`."""
        return search_together(self.index, self.rule(self.items, requests, self.value), requests)


def classical_rows(context: EvaluationContext) -> list[TunableRow[Query]]:
    """The classical rows of a domain."""
    items = TrainingItems(context.catalog.embeddings, context.positive, context.patterns.trainable, context.predictor)

    def build(rule: Rule) -> Callable[[float], ClassicalRetriever]:
        return lambda value: ClassicalRetriever(rule, items, context.index, value)

    return [TunableRow(name, build(rule), grid) for name, (rule, grid) in RULES.items()]


def model_row(
    name: str,
    path: Path,
    task: SeedsTask,
    params: SamplerParams,
    guidance: float | None = None,
    knows_domain: bool = True,
) -> Row[Query]:
    """Makes a row from a `model.pt`.

    Args:
        name: Of the row.
        path: Of the model file.
        task: Its validation cases choose the guidance.
        params: Steps, samples and the scales to choose from.
        guidance: Of the row; None takes the one that validation prefers.
        knows_domain: False for a model trained before any domain: it is judged without the domain's axes, as trained.

    Raises:
        ArtifactError: The file is missing or holds no model.
    """
    context = task.context
    blank = Geometry.blank(context.catalog.dimension)
    geometry = Geometry.of(context.geometry) if knows_domain else blank
    sampler = Sampler(load_model(path), geometry, params.steps, params.samples).eval()
    scale = choose_guidance(task, sampler, params.guidance) if guidance is None else guidance
    return generator_row(name, Generator(sampler, scale, context.index))


def generator_row(name: str, generator: Generator) -> Row[Query]:
    """Makes a row from a torch model."""
    return Row(name, "model", generator, {"guidance": generator.guidance})


def choose_guidance(task: SeedsTask, sampler: Sampler, scales: Sequence[float]) -> float:
    """Chooses the scale of greatest mean Joint@K; both kinds of validation weigh the same, as in HPPO's stop rule.

    Args:
        task: Of the domain; a kind of validation without cases does not count.
        sampler: Of the row.
        scales: To choose from; the first of equals is taken.
    """
    total = np.zeros(len(scales))
    for split in VALIDATIONS:
        cases = task.cases(split)
        if len(cases):
            fan = fan_queries(sampler, cases.requests, scales)
            total += [task.judge_queries(cases, queries)["joint"].mean() for queries in fan.transpose(1, 0, 2)]
    return scales[int(total.argmax())]
