"""Answers for a domain before anything is trained for it: from some verdicts, and what other domains' votes learnt.

The query is a vote of moves from the seeds, as in `modit.model.readout` without the network, here in numpy so that the
service can use it. Density, attribute and evidence come from the verdicts that are given. The weights of the moves are
the mean over domains that have been trained. A logistic regression on the verdicts says how likely each result has the
attribute; reranking by it made the lists no better (docs/how-to/add-a-domain.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modit.core.errors import InsufficientDataError
from modit.data.vectors import unit
from modit.index.item_index import ItemIndex
from modit.inference.rerank import StoredLogOdds
from modit.inference.retrieval import Query, SearchResult, padded_exclusions, padded_seeds, search
from modit.metric.attribute_model import LogisticModel
from modit.metric.evidence import FEEDBACK_COUNTS, KnownVerdicts
from modit.metric.predictor import DomainGeometry, fit_on_verdicts

# Fewer verdicts of a kind fit neither directions nor probabilities.
FEWEST_OF_A_KIND = 5
# Of the seeds, those of highest predicted density, whose mean is `best`; as `modit.model.readout.BEST_SHARE`.
_BEST_SHARE = 1 / 3
# Of so many verdicts, evidence counts half of what it counts in the trained domains: among few, the nearest are far.
_HALF_EVIDENCE = 300
_EVIDENCE = (*map(str, FEEDBACK_COUNTS), "probe")


@dataclass(frozen=True)
class WeightedMove:
    """A move of a vote, with its weight; the other fields are those of `modit.model.readout.Move`."""

    blend: str
    step: str
    length: float
    evidence: str
    evidence_weight: float
    weight: float


@dataclass(frozen=True, eq=False)
class VoteRetriever:
    """Searches with the vote of some moves.

    Attributes:
        moves: That vote.
        verdicts: The known ones.
        geometry: Fitted on them.
        index: Searched.
    """

    moves: Sequence[WeightedMove]
    verdicts: KnownVerdicts
    geometry: DomainGeometry
    index: ItemIndex

    def queries(self, requests: Sequence[Query]) -> np.ndarray:
        """The unit queries of requests, float32 [n, d]; the order of a request's seeds changes nothing."""
        means = _seed_means(*padded_seeds(requests), self.geometry)
        evidence = self.verdicts.directions(means["mean"], padded_exclusions(requests))
        steps = {"density": self.geometry.density, "attribute": self.geometry.attribute}
        steps["both"] = unit(steps["density"] + steps["attribute"])
        total = np.zeros_like(means["mean"])
        for move in self.moves:
            blend = unit(np.sum([means[name] for name in move.blend.split(" + ")], 0))
            near = move.evidence_weight * evidence[:, _EVIDENCE.index(move.evidence)]
            total += move.weight * unit(blend + move.length * steps[move.step] + near)
        return unit(total)

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers requests one by one."""
        return [
            SearchResult(vector, *search(self.index, vector, request.k, request.exclude, request.allowed))
            for vector, request in zip(self.queries(requests), requests, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class UntrainedDomain:
    """A domain that is known by some verdicts only.

    Attributes:
        vote: Answers with a vote.
        log_odds: Of items, that they have the attribute.
    """

    vote: VoteRetriever
    log_odds: StoredLogOdds

    @classmethod
    def fit(
        cls, verdicts: KnownVerdicts, moves: Sequence[WeightedMove], index: ItemIndex, k: int, seed: int = 0
    ) -> UntrainedDomain:
        """Fits directions and probabilities on known verdicts.

        Args:
            verdicts: The known ones.
            moves: That vote, as `mean_vote` returns them.
            index: Over all items.
            k: Neighbours that the density of an item is measured over.
            seed: Of samples.

        Raises:
            InsufficientDataError: There are fewer than five verdicts of a kind.
        """
        positives, negatives = int(verdicts.positives.sum()), int(verdicts.negatives.sum())
        if min(positives, negatives) < FEWEST_OF_A_KIND:
            raise InsufficientDataError(
                f"{positives} positive and {negatives} negative verdicts; allowed: at least {FEWEST_OF_A_KIND} of each"
            )
        _, geometry = fit_on_verdicts(verdicts, index, k, seed)
        model = LogisticModel(verdicts, seed)
        count = positives + negatives
        trust = count / (count + _HALF_EVIDENCE)
        moves = [replace(move, evidence_weight=trust * move.evidence_weight) for move in moves]
        vote = VoteRetriever(moves, verdicts, geometry, index)
        return cls(vote, StoredLogOdds.of(verdicts.embeddings, model.log_odds))

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """Of rows of the index, that they have the attribute, float64 [n]."""
        return 1 / (1 + np.exp(-self.log_odds(rows)))


def mean_vote(readouts: Sequence[Mapping[str, Any]]) -> list[WeightedMove]:
    """The mean of the votes of some domains: each move with the mean of its weights.

    Args:
        readouts: Contents of `readout.json`, at least one.

    Returns:
        Moves whose weights sum to 1, the heaviest first.
    """
    weights: dict[tuple[str, str, float, str, float], float] = {}
    for readout in readouts:
        for entry in readout["moves"]:
            evidence, pull = entry.get("evidence", _EVIDENCE[0]), entry.get("evidence_weight", 0.0)
            move = (entry["blend"], entry["step"], entry["length"], evidence, pull)
            weights[move] = weights.get(move, 0.0) + entry["weight"]
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda each: (-each[1], each[0]))
    return [WeightedMove(*move, weight / total) for move, weight in ordered]


def _seed_means(seeds: np.ndarray, mask: np.ndarray, geometry: DomainGeometry) -> dict[str, np.ndarray]:
    """Unit means [n, d]: of all seeds, of the best of them by predicted density, and of all in the whitened frame."""
    seeds = unit(seeds) * mask[..., None]
    mean = unit(seeds.sum(1))
    kept = np.maximum(1, np.round(_BEST_SHARE * mask.sum(1))).astype(int)
    score = np.where(mask, seeds @ geometry.density, -np.inf)
    # Of equal densities the content decides, as in `modit.model.sampler.sort_seeds`.
    tie = seeds @ np.cos(np.arange(1, seeds.shape[2] + 1) ** 2).astype(np.float32)
    order = np.lexsort((tie, score))
    rank = np.argsort(order, 1)
    best = unit((seeds * (rank >= mask.shape[1] - kept[:, None])[..., None]).sum(1))
    return {"mean": mean, "best": best, "whitened": unit((mean - geometry.mean) @ geometry.whitening)}
