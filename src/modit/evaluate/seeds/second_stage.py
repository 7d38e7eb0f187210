"""The second stage as it is served: the row HPPO + rerank, and how far its probabilities can be relied on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modit.data.splits import Split
from modit.evaluate import names
from modit.evaluate.evaluation import Tuned
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator
from modit.evaluate.task import Row
from modit.index.searchable import SearchableIndex
from modit.inference.rerank import GoodnessValues, RerankRetriever
from modit.inference.retrieval import Query, Retriever
from modit.metric.calibration import Calibration, reliability
from modit.metric.second_stage import SecondStage


def served_row(policy: Row[Query], stage: SecondStage, context: EvaluationContext) -> Row[Query]:
    """HPPO with the second stage as it is served: nothing is chosen here, and where it is off the lists are HPPO's.

    Args:
        policy: The row HPPO.
        stage: Of the domain.
        context: The domain; an item whose verdict is known takes the verdict instead of the model.
    """
    served, validation = served_list(policy.retriever, stage, context), stage.facts["validation"]
    reached = validation["reranked" if stage.enabled else "none"]["mean"]
    setting = {"model": stage.facts["kind"], "depth": served.depth, "weight": served.weight}
    return Row(
        names.SERVED,
        "model",
        served,
        {
            "tuned": Tuned(setting, reached, 2),
            "calibration": Calibration(**stage.facts["calibration"]),
        },
    )


def engine_row(
    policy: Row[Query], stage: SecondStage, context: EvaluationContext, index: SearchableIndex
) -> Row[Query]:
    """The served row with its lists from another index, such as that of the site's engine: what recall costs.

    Args:
        policy: The row HPPO, whose retriever is a torch model.
        stage: Of the domain.
        context: The domain.
        index: Searched in place of the context's, which is exact or nearly so.
    """
    assert isinstance(policy.retriever, Generator)
    from_engine = replace(policy, retriever=replace(policy.retriever, index=index))
    return replace(served_row(from_engine, stage, context), name=names.FROM_ENGINE)


def served_list(first: Retriever[Query], stage: SecondStage, context: EvaluationContext) -> RerankRetriever:
    """What callers get from a retriever behind a second stage: its own lists where that is off.

    Args:
        first: Answers with one query.
        stage: Of the domain.
        context: The domain, with the known verdicts.
    """
    verdicts = context.known_verdicts
    log_odds = stage.with_verdicts(verdicts.known, verdicts.positive)
    values = GoodnessValues(log_odds.__getitem__, stage.pattern_of(context.catalog.embeddings))
    depth, weight = (stage.depth, stage.weight) if stage.enabled else (1, 0.0)
    return RerankRetriever(first, values, depth, weight)


def second_stage_facts(stage: SecondStage, context: EvaluationContext) -> dict[str, Any]:
    """What `evaluation.json` says of a second stage: how it was chosen, and its reliability on test items.

    Args:
        stage: Of the domain.
        context: The domain, in the discovery scope: results of a hold-out are scored items whose role is test, whose
            verdicts neither the fit nor the calibration saw.
    """
    unseen = context.allowed(Split.ITEM_HOLDOUT)
    own = {"depth": stage.depth, "weight": stage.weight, "enabled": stage.enabled}
    return {**stage.facts, **own, "reliability": reliability(stage.log_odds[unseen], context.positive[unseen])}
