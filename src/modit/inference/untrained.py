"""Answers for a domain before anything is trained for it: from some verdicts, and what other domains' votes learnt.

The query is a vote of moves from the seeds without the network (`modit.inference.vote_file`). Density, attribute and
evidence come from the verdicts that are given; the weights of the moves are the mean over trained domains. The second
stage reranks by a logistic regression on the verdicts and by clusters of their positives, which stand for the patterns
(docs/how-to/add-a-domain.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modit.core.errors import InsufficientDataError
from modit.index.searchable import SearchableIndex
from modit.inference.rerank import MOST_FETCHED, GoodnessValues, RerankRetriever
from modit.inference.retrieval import SamplerRetriever
from modit.inference.vote_file import VoteFile, WeightedMove
from modit.metric.attribute_model import fit_calibrated_logistic
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.params import DEPTH, SHARPNESS, WEIGHT
from modit.metric.predictor import fit_on_verdicts
from modit.metric.second_stage import SecondStage

# Fewer verdicts of a kind fit neither directions nor probabilities.
FEWEST_OF_A_KIND = 5
# Number of verdicts with which evidence counts half of what it counts in trained domains: of few, the nearest are far.
_HALF_EVIDENCE = 300


@dataclass(frozen=True, eq=False)
class UntrainedDomain:
    """What answers for a domain that is known by some verdicts only.

    Attributes:
        retriever: Answers with a vote.
        reranker: Reranks its lists, as is the default.
        log_odds: That the items have the attribute, float32 [N]: what the verdict says where one is given, and
            calibrated elsewhere.
    """

    retriever: SamplerRetriever
    reranker: RerankRetriever
    log_odds: np.ndarray

    @classmethod
    def fit(cls, retriever: SamplerRetriever, verdicts: KnownVerdicts, seed: int = 0) -> UntrainedDomain:
        """Adds a second stage to what `untrained_retriever` made of the same verdicts."""
        _, log_odds = fit_calibrated_logistic(verdicts, FEWEST_OF_A_KIND, seed)
        patterns = KnownPatterns.clustered(verdicts, seed)
        stage = SecondStage(log_odds, patterns, DEPTH, WEIGHT, SHARPNESS, True)
        given = stage.with_verdicts(verdicts.known, verdicts.positive)
        values = GoodnessValues(given.__getitem__, stage.pattern_of(verdicts.embeddings))
        most = min(MOST_FETCHED, len(retriever.index))
        return cls(retriever, RerankRetriever(retriever, values, stage.depth, stage.weight, most), given)


def untrained_retriever(
    domain: str,
    verdicts: KnownVerdicts,
    moves: Sequence[WeightedMove],
    vote: VoteFile,
    index: SearchableIndex,
    k: int,
    seed: int = 0,
) -> SamplerRetriever:
    """What answers for a domain that is known by some verdicts only: directions are fitted on them, and moves vote.

    Args:
        domain: Its name.
        verdicts: The known ones.
        moves: That vote, as `mean_vote` returns them.
        vote: Their graph.
        index: Over all items.
        k: Neighbours that the density of an item is measured over.
        seed: Of samples.

    Raises:
        InsufficientDataError: There are fewer than five verdicts of a kind.
        ArtifactError: The graph does not know a move.
    """
    _expect_enough(verdicts)
    _, geometry = fit_on_verdicts(verdicts, index, k, seed)
    count = int(verdicts.known.sum())
    trust = count / (count + _HALF_EVIDENCE)
    trusted = [move._replace(evidence_weight=trust * move.evidence_weight) for move in moves]
    return SamplerRetriever(vote.sampler(domain, trusted, geometry), index, verdicts=verdicts)


def _expect_enough(verdicts: KnownVerdicts) -> None:
    """Refuses fewer than five verdicts of a kind by an InsufficientDataError."""
    positives, negatives = int(verdicts.positives.sum()), int(verdicts.negatives.sum())
    if min(positives, negatives) < FEWEST_OF_A_KIND:
        raise InsufficientDataError(
            f"{positives} positive and {negatives} negative verdicts; allowed: at least {FEWEST_OF_A_KIND} of each"
        )


def mean_vote(readouts: Iterable[Mapping[str, Any]]) -> list[WeightedMove]:
    """The mean of the votes of some domains: each move with the mean of its weights.

    Args:
        readouts: Contents of `readout.json`, at least one.

    Returns:
        Moves whose weights sum to 1, the heaviest first.
    """
    weights: dict[tuple[str, str, float, str, float], float] = {}
    for readout in readouts:
        for entry in readout["moves"]:
            # A readout of before evidence has none; of a move that takes none, its name says nothing.
            pull = entry.get("evidence_weight", 0.0)
            evidence = entry["evidence"] if pull else ""
            move = (entry["blend"], entry["step"], entry["length"], evidence, pull)
            weights[move] = weights.get(move, 0.0) + entry["weight"]
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda each: (-each[1], each[0]))
    return [WeightedMove(*move, weight / total) for move, weight in ordered]
