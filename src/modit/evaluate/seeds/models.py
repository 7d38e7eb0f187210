"""Rows that are torch models: the same cases and the same noise for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from modit.core.memory import at_once
from modit.index.searchable import SearchableIndex
from modit.inference.retrieval import (
    Query,
    SearchResult,
    mean_of_seeds,
    padded_exclusions,
    padded_seeds,
    search_together,
)
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.model.flow import sample_noise
from modit.model.sampler import CASES_AT_ONCE, Sampler


@dataclass(frozen=True, eq=False)
class Generator:
    """A torch model that answers seeds.

    Attributes:
        sampler: The model with the order of its seeds and its steps.
        guidance: The scale at which it is judged.
        index: Searched.
        verdicts: The known ones, for a readout with local moves.
        patterns: The known ones, which queries are moved by; None moves none.
        made: Queries by a digest of their requests: other scopes and rows that rerank ask for the same again.
    """

    sampler: Sampler
    guidance: float
    index: SearchableIndex
    verdicts: KnownVerdicts | None = None
    patterns: KnownPatterns | None = None
    made: dict[str, np.ndarray] = field(init=False, default_factory=dict, repr=False)

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers requests that share `k` and `allowed`."""
        name = _digest(requests)
        if name not in self.made:
            self.made[name] = fan_queries(self.sampler, requests, [self.guidance], self.verdicts)[:, 0]
        vectors = self.made[name]
        if self.patterns is not None:
            vectors = self.patterns.moved(vectors, [request.seeds for request in requests])
        return search_together(self.index, vectors, requests)


def _digest(requests: Sequence[Query]) -> str:
    """Of all that a query is made of; `k` and `allowed` are for the search."""
    digest = hashlib.sha256()
    for request in requests:
        for part in (request.seeds, _noise_of(request), request.exclude):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(part.tobytes())
    return digest.hexdigest()


def case_noise(cases: int, dimension: int, seed: int) -> np.ndarray:
    """Draws the noise of each case, the same for every model that is compared, float32 [n, d]."""
    return sample_noise((cases, dimension), torch.Generator().manual_seed(seed)).numpy()


@torch.no_grad()
def fan_queries(
    sampler: Sampler, requests: Sequence[Query], guidance: Sequence[float], verdicts: KnownVerdicts | None = None
) -> np.ndarray:
    """Generates queries at several guidance scales from the noise of each request.

    Args:
        sampler: The model.
        requests: With noise.
        guidance: R scales.
        verdicts: The known ones, read where the sampler has local moves.

    Returns:
        Unit float32 [n, R, d].
    """
    padded = padded_seeds(requests)
    seeds, mask = (torch.from_numpy(part) for part in padded)
    evidence = None
    if sampler.uses_evidence and verdicts is not None:
        evidence = torch.from_numpy(verdicts.directions(mean_of_seeds(*padded), padded_exclusions(requests)))
    noise = torch.from_numpy(np.concatenate([_noise_of(request) for request in requests]))
    parts, block = [], at_once(CASES_AT_ONCE)
    for start in range(0, len(requests), block):
        rows = slice(start, start + block)
        scales = torch.tensor(list(guidance), dtype=torch.float32).expand(len(seeds[rows]), -1)
        known = None if evidence is None else evidence[rows]
        parts.append(sampler.fan(seeds[rows], mask[rows], noise[rows], scales, known))
    return torch.cat(parts).numpy()


def _noise_of(request: Query) -> np.ndarray:
    if request.noise is None:
        raise ValueError("a request to a torch model has no noise; models can be compared on the same noise only")
    return request.noise
