"""A simple row as it is served: one move from the seeds, the same for every pattern, without the network.

The moves are those of the report's rows *Fixed move* and *Local feedback*. Two of their starts are no blends of the
seeds but begin at a known pattern; the graph of the vote then takes that start in the place of the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modit.data.vectors import unit
from modit.index.searchable import SearchableIndex
from modit.inference.retrieval import Query, SearchResult, mean_of_seeds, sampler_inputs, search
from modit.inference.runtime import QuerySampler
from modit.inference.vote_file import VoteFile, WeightedMove
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import DomainGeometry

# Starts of a move beside the blends of seeds: the centre of the known pattern nearest to them, and between it and their
# mean.
STARTS_OF_KNOWN = ("known pattern", "mean + known pattern")
_SEEDS_THEMSELVES = "mean"  # the blend of a single seed that stands for the start


@dataclass(frozen=True, eq=False)
class MoveRetriever:
    """Answers with one move.

    Attributes:
        sampler: The vote of this move alone.
        start: Where it starts: a blend of the seeds, or one of `STARTS_OF_KNOWN`.
        index: Searched.
        patterns: The known ones.
        verdicts: The known ones; None where the move takes no evidence.
    """

    sampler: QuerySampler
    start: str
    index: SearchableIndex
    patterns: KnownPatterns
    verdicts: KnownVerdicts | None

    @classmethod
    def of(
        cls,
        domain: str,
        move: WeightedMove,
        vote: VoteFile,
        geometry: DomainGeometry,
        index: SearchableIndex,
        patterns: KnownPatterns,
        verdicts: KnownVerdicts | None,
    ) -> MoveRetriever:
        """Makes it from the file of the vote.

        Args:
            domain: That it answers for.
            move: Its weight counts for nothing.
            vote: Graph of any moves.
            geometry: Of the domain.
            index: Searched.
            patterns: The known ones.
            verdicts: The known ones.

        Raises:
            ArtifactError: The graph does not know the move.
        """
        known = move._replace(blend=_SEEDS_THEMSELVES) if move.blend in STARTS_OF_KNOWN else move
        sampler = vote.sampler(domain, [known._replace(weight=1.0)], geometry)
        return cls(sampler, move.blend, index, patterns, verdicts if sampler.info.uses_evidence else None)

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers each request with one search; `guidance`, `rounds` and `noise` change nothing."""
        single = [Query(each.seeds, each.k, exclude=each.exclude, allowed=each.allowed) for each in requests]
        inputs = sampler_inputs(self.sampler.info, single, self.verdicts)
        if self.start in STARTS_OF_KNOWN:
            starts = np.stack([self.patterns.centre_near(each.seeds) for each in requests])
            if self.start != STARTS_OF_KNOWN[0]:
                starts = unit(mean_of_seeds(inputs.seeds, inputs.mask) + starts)
            inputs = inputs._replace(seeds=starts[:, None], mask=np.ones((len(requests), 1), bool))
        vectors = self.sampler.queries(inputs)
        return [
            SearchResult(vector, *search(self.index, vector, each.k, each.exclude, each.allowed))
            for vector, each in zip(vectors, requests, strict=True)
        ]
