"""Canary queries of a bundle: a few evaluation cases with the query and the items that the release answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from modit.core.errors import ArtifactError
from modit.inference.items import Items
from modit.inference.retrieval import Query, Retriever
from modit.release.documents import read_document

K = 10
# Another processor may sum float32 in another order. Another model or another item differs by far more.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Canary:
    """Ids of seeds, the query that they gave, a unit vector [d], and ids and scores of the items found, best first."""

    seeds: list[str]
    query: list[float]
    items: list[str]
    scores: list[float]


def ask(retriever: Retriever[Query], items: Items, seeds: Sequence[str], k: int = K) -> Canary:
    """Asks as the service does: seeds by id, all of them in the index, and no seed among the answers."""
    rows = items.rows_of(seeds)
    query = Query(items.embeddings[rows].astype(np.float32), min(k, len(items.index)), exclude=rows)
    (found,) = retriever.retrieve([query])
    return Canary(list(seeds), found.query.tolist(), items.ids_of(found.rows), found.scores.tolist())


def save_canaries(canaries: Sequence[Canary], path: Path) -> None:
    """Writes them as JSON."""
    path.write_text(json.dumps([asdict(canary) for canary in canaries], indent=1) + "\n", encoding="utf-8")


def load_canaries(path: Path) -> list[Canary]:
    """Reads what `save_canaries` wrote.

    Raises:
        ArtifactError: The file has no canary, or is something else.
    """
    if not (canaries := read_document(path, list[Canary])):
        raise ArtifactError(f"{path} holds no canaries")
    return canaries


def expect_answers(canaries: Sequence[Canary], retriever: Retriever[Query], items: Items, source: str) -> None:
    """Asks the stored queries again and compares the answers; messages begin with the name of the release, `source`.

    Raises:
        ArtifactError: A seed is unknown, or a query, a score or an item differs by more than the tolerance.
    """
    for number, canary in enumerate(canaries):
        if unknown := [seed for seed, row in zip(canary.seeds, items.rows_of(canary.seeds), strict=True) if row < 0]:
            raise ArtifactError(f"{source}: canary {number}: the index has no item {unknown[0]!r}")
        now = ask(retriever, items, canary.seeds)
        if not _close(now.query, canary.query):
            raise ArtifactError(f"{source}: canary {number}: the sampler generates another query than the stored one")
        if not _close(now.scores, canary.scores) or not _same_items(now, canary):
            raise ArtifactError(
                f"{source}: canary {number} answers {', '.join(now.items)}; stored is {', '.join(canary.items)}"
            )


def _close(found: Sequence[float], stored: Sequence[float]) -> bool:
    return len(found) == len(stored) and bool(np.allclose(found, stored, rtol=0, atol=TOLERANCE))


def _same_items(now: Canary, stored: Canary) -> bool:
    """Whether the items are the same; those whose scores lie within the tolerance of the last may be others."""
    edge = stored.scores[-1] + TOLERANCE if stored.scores else 0.0
    sure = {name for name, score in zip(stored.items, stored.scores, strict=True) if score > edge}
    return len(now.items) == len(stored.items) and sure <= set(now.items)
