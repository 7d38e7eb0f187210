"""The second stage of what answers: stored verdicts where there are some, and the attribute model's odds elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modit.inference.items import Items
from modit.inference.rerank import MOST_FETCHED, GoodnessValues, RerankRetriever
from modit.inference.retrieval import Query, Retriever
from modit.metric.second_stage import SecondStage


@dataclass(frozen=True, eq=False)
class ServedSecondStage:
    """A second stage that can answer.

    Attributes:
        retriever: Reranks the lists of the first stage.
        log_odds: That the items have the attribute, float32 [N]: what the verdict says where it is stored.
        enabled: Whether a request that says nothing of it is reranked.
        kind: Of the attribute model.
    """

    retriever: RerankRetriever
    log_odds: np.ndarray
    enabled: bool
    kind: str


def served_second_stage(stage: SecondStage, first: Retriever[Query], items: Items, domain: str) -> ServedSecondStage:
    """Puts the second stage of a domain behind what answers.

    Args:
        stage: Of this catalogue.
        first: Answers with the lists that are reranked.
        items: With the stored verdicts.
        domain: Of the verdicts.
    """
    count = len(items.index)
    stored = items.known_verdicts(domain)
    log_odds = stage.log_odds if stored is None else stage.with_verdicts(stored.known, stored.positive)
    values = GoodnessValues(log_odds.__getitem__, stage.pattern_of(items.embeddings))
    reranker = RerankRetriever(first, values, stage.depth, stage.weight, min(MOST_FETCHED, count))
    return ServedSecondStage(reranker, log_odds, stage.enabled, str(stage.facts.get("kind")))
