"""Rows of the task `seeds`: classical ones, which a user would try before training anything, and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modit.data.splits import VALIDATIONS
from modit.evaluate import names
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator, fan_queries
from modit.evaluate.seeds.queries import RULES, ClosedFormRetriever, DomainKnowledge, Rule, SeedFeatures
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.task import Kind, Row, Setting
from modit.index.searchable import SearchableIndex
from modit.inference.rerank import AttributeValues, RerankRetriever, StoredLogOdds, fetch_deeper, rerank
from modit.inference.retrieval import Query, Retriever, SearchResult, search_together
from modit.inference.untrained import UntrainedDomain, mean_vote, untrained_retriever
from modit.inference.vote_file import load_vote
from modit.metric.attribute_model import fit_attribute_models
from modit.metric.known_patterns import KnownPatterns
from modit.model.axes import Geometry
from modit.model.readout import Readout
from modit.model.sampler import Sampler
from modit.training.checkpoint import load_model
from modit.training.params import SamplerParams

# How much deeper than K a list is fetched to be reranked, and the weight of the log-odds beside the inner product.
_DEPTHS = (3, 6, 12, 25)
_ODDS_WEIGHTS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3)
# Many small searches cost more than one large one.
_QUERIES_AT_ONCE = 4_096
# Whether items outside the seeds' known pattern come last.
_PATTERNS = ("any", "same")
# The classical rows whose lists are reranked: what a user has at hand, and the two strongest.
RERANKED = (names.AVERAGE, names.FIXED_MOVE, names.LOCAL_FEEDBACK)


@dataclass(frozen=True, eq=False)
class ClosedFormRow:
    """A rule with its grid.

    Attributes:
        name: Of the row.
        rule: Makes the queries.
        grid: Settings to choose from.
        domain: What the rule may use.
        index: Searched.
    """

    name: str
    rule: Rule
    grid: Sequence[Setting]
    domain: DomainKnowledge
    index: SearchableIndex
    kind: Kind = "classical"

    def build(self, setting: Setting) -> Retriever[Query]:
        """Makes the retriever for a setting."""
        return ClosedFormRetriever(self.rule, self.domain, self.index, setting)

    def answers(self, requests: Sequence[Query]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting; what the seeds say is computed once, settings are searched together."""
        seeds, count = SeedFeatures(self.domain, requests), len(requests)
        at_once = max(1, _QUERIES_AT_ONCE // count)
        for start in range(0, len(self.grid), at_once):
            settings = self.grid[start : start + at_once]
            queries = np.concatenate([self.rule(seeds, setting) for setting in settings])
            found = search_together(self.index, queries, [*requests] * len(settings))
            yield from (found[first : first + count] for first in range(0, len(found), count))


@dataclass(frozen=True, eq=False)
class RerankedRow:
    """Another row whose lists are fetched deeper and reordered by the log-odds of the attribute.

    Where its setting says so, items outside the known pattern that is nearest to the seeds come last.

    Attributes:
        name: Of the row.
        first: The other row, at its chosen setting.
        log_odds: Kind of attribute model -> its log-odds of items.
        patterns: The known ones.
    """

    name: str
    first: Retriever[Query]
    log_odds: Mapping[str, StoredLogOdds]
    patterns: KnownPatterns
    kind: Kind = "two_stage"

    @property
    def grid(self) -> Sequence[Setting]:
        """Every attribute model, pattern, depth and weight."""
        return [
            {"model": model, "pattern": pattern, "depth": depth, "weight": weight}
            for model in self.log_odds
            for pattern in _PATTERNS
            for depth in _DEPTHS
            for weight in _ODDS_WEIGHTS
        ]

    def build(self, setting: Setting) -> Retriever[Query]:
        """Makes the retriever for a setting."""
        return RerankRetriever(self.first, self._values(setting), setting["depth"], setting["weight"])

    def answers(self, requests: Sequence[Query]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting, from one search of the greatest depth."""
        lists = fetch_deeper(self.first, requests, max(_DEPTHS))
        chosen: tuple[str, str] | None = None
        own: list[np.ndarray] = []
        for setting in self.grid:
            if (wanted := (setting["model"], setting["pattern"])) != chosen:
                values, chosen = self._values(setting), wanted
                own = [values(request, found.rows) for request, found in zip(requests, lists, strict=True)]
            yield [
                rerank(found, value, request.k, setting["depth"], setting["weight"])
                for found, value, request in zip(lists, own, requests, strict=True)
            ]

    def _values(self, setting: Setting) -> AttributeValues:
        within = self.patterns if setting["pattern"] == "same" else None
        return AttributeValues(self.log_odds[setting["model"]], within)


def closed_form_rows(context: EvaluationContext) -> list[ClosedFormRow]:
    """The rows of a domain that answer with one closed-form query."""
    domain = DomainKnowledge(context.known_verdicts, context.predictor, context.geometry, context.known_patterns)
    return [ClosedFormRow(name, rule, grid, domain, context.index) for name, (rule, grid) in RULES.items()]


class Reranking:
    """Reranks the lists of rows with the attribute models of a domain, which are fitted once."""

    def __init__(self, context: EvaluationContext, seed: int) -> None:
        """Fits the attribute models on the known verdicts.

        Args:
            context: The domain.
            seed: Of the models.
        """
        models = fit_attribute_models(context.known_verdicts, seed)
        embeddings = context.catalog.embeddings
        self._log_odds = {kind: StoredLogOdds.of(embeddings, model.log_odds) for kind, model in models.items()}
        self._patterns = context.known_patterns

    def rows(self, rows: Mapping[str, Row[Query]]) -> list[RerankedRow]:
        """The rows to tune: those of `RERANKED`.

        Args:
            rows: The single-query rows at their settings.
        """
        return [
            RerankedRow(names.reranked(name), rows[name].retriever, self._log_odds, self._patterns) for name in RERANKED
        ]


def model_row(
    name: str,
    path: Path,
    task: SeedsTask,
    params: SamplerParams,
    guidance: float | None = None,
    knows_domain: bool = True,
    readout: Readout | None = None,
    patterns: KnownPatterns | None = None,
) -> Row[Query]:
    """Makes a row from a `model.pt`.

    Args:
        name: Of the row.
        path: Of the model file.
        task: Its validation cases choose the guidance.
        params: Steps, samples and the scales to choose from.
        guidance: Of the row; None takes the one that validation prefers.
        readout: What is added to the network's query; None for nothing.
        patterns: The known ones, which queries are moved by; None moves none.
        knows_domain: False for a model trained before any domain: it is judged without the domain's axes, as trained.

    Raises:
        ArtifactError: The file is missing or holds no model.
    """
    context = task.context
    blank = Geometry.blank(context.catalog.dimension)
    geometry = Geometry.of(context.geometry) if knows_domain else blank
    sampler = Sampler(load_model(path), geometry, params.steps, params.samples, readout).eval()
    scale = choose_guidance(task, sampler, params.guidance) if guidance is None else guidance
    return generator_row(name, Generator(sampler, scale, context.index, context.known_verdicts, patterns))


def untrained_row(context: EvaluationContext, readouts: Sequence[Mapping[str, Any]], sampler: Path) -> Row[Query]:
    """What the domain's known verdicts gave before training: the votes of other domains, as the service answers.

    Args:
        context: The domain; its known verdicts are those of training items.
        readouts: Contents of `readout.json` of domains that were trained before.
        sampler: Folder of an exported sampler, with the file of the vote.
    """
    given = (mean_vote(readouts), load_vote(sampler), context.index, context.k)
    retriever = untrained_retriever(context.domain, context.known_verdicts, *given)
    served = UntrainedDomain.fit(replace(retriever, together=True), context.known_verdicts).reranker
    return Row(names.UNTRAINED, "model", served)


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
