"""Canary queries of a bundle: a few evaluation cases with the query and the items that the release answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from modit.core.errors import ArtifactError
from modit.inference.items import Items
from modit.inference.retrieval import Query, SearchResult, retrieve
from modit.inference.runtime import OnnxSampler
from modit.inference.sampler_file import FLOAT32, INT8

K = 10
# Another processor may sum float32 in another order; another model or another item is far more than that away.
# What differs in the seventh digit can be rounded to another one of 256 values: with int8, a query moves by up to 0.01.
TOLERANCES = {FLOAT32: 1e-3, INT8: 2e-2}


@dataclass(frozen=True)
class Canary:
    """A question with its answer.

    Attributes:
        seeds: ids of the seeds.
        query: unit vector [d].
        items: ids that are answered, best first, at most 10.
        scores: of them.
    """

    seeds: list[str]
    query: list[float]
    items: list[str]
    scores: list[float]


def ask(sampler: OnnxSampler, items: Items, seeds: Sequence[str]) -> Canary:
    """Asks as the service does: seeds by id, never among the answers."""
    found = _found(sampler, items, seeds)
    return Canary(list(seeds), found.query.tolist(), items.ids_of(found.rows), found.scores.tolist())


def save_canaries(canaries: Sequence[Canary], path: Path) -> None:
    """Writes them as JSON."""
    path.write_text(json.dumps([asdict(canary) for canary in canaries], indent=1) + "\n", encoding="utf-8")


def load_canaries(path: Path) -> list[Canary]:
    """Reads what `save_canaries` wrote.

    Raises:
        ArtifactError: there is none, or it is something else.
    """
    try:
        canaries = [Canary(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} holds no canaries: {error}") from error
    if not canaries:
        raise ArtifactError(f"{path} holds no canaries")
    return canaries


def expect_answers(canaries: Sequence[Canary], sampler: OnnxSampler, items: Items, source: str) -> None:
    """Asks the stored questions again.

    Args:
        canaries: with the answers that are expected.
        sampler: that is asked.
        items: index and ids that are searched.
        source: how to name the release in messages.

    Raises:
        ArtifactError: a seed is unknown, or a query, a score or an item differs by more than the tolerance.
    """
    tolerance = TOLERANCES[sampler.info.precision]
    for number, canary in enumerate(canaries):
        if unknown := [seed for seed, row in zip(canary.seeds, items.rows_of(canary.seeds), strict=True) if row < 0]:
            raise ArtifactError(f"{source}: canary {number}: the index has no item {unknown[0]!r}")
        now = ask(sampler, items, canary.seeds)
        if not _close(now.query, canary.query, tolerance):
            raise ArtifactError(f"{source}: canary {number}: the sampler generates another query than the stored one")
        if not _close(now.scores, canary.scores, tolerance) or not _same_items(now, canary, tolerance):
            raise ArtifactError(
                f"{source}: canary {number} answers {', '.join(now.items)}; stored is {', '.join(canary.items)}"
            )


def _found(sampler: OnnxSampler, items: Items, seeds: Sequence[str]) -> SearchResult:
    rows = items.rows_of(seeds)
    question = Query(items.embeddings[rows].astype(np.float32), min(K, len(items.index)), exclude=rows)
    return retrieve(sampler, items.index, question)


def _close(found: Sequence[float], stored: Sequence[float], tolerance: float) -> bool:
    return len(found) == len(stored) and bool(np.allclose(found, stored, rtol=0, atol=tolerance))


def _same_items(now: Canary, stored: Canary, tolerance: float) -> bool:
    """Whether the same items come, but for those whose scores are so near that either may be the last or the first."""
    edge = stored.scores[-1] + tolerance if stored.scores else 0.0
    sure = {name for name, score in zip(stored.items, stored.scores, strict=True) if score > edge}
    return len(now.items) == len(stored.items) and sure <= set(now.items)
