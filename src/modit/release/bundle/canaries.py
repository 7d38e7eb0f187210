"""Canary queries of a bundle: a few evaluation cases, and what the release answered to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from modit.core.errors import ArtifactError
from modit.inference.items import Items, ItemTable
from modit.inference.retrieval import Query, Retriever
from modit.inference.sessions import SessionQuery
from modit.release.documents import parse_document, read_document

K = 10
# Another processor may sum float32 in another order. Another model or another item differs by far more.
TOLERANCE = 1e-3


class Answered(Protocol):
    """What canaries of all kinds have: the ids of what was given, and ids and scores of the items found, best first."""

    @property
    def given(self) -> list[str]:
        """Ids of the items that the query was made of."""

    @property
    def items(self) -> list[str]:
        """Ids of the items found."""

    @property
    def scores(self) -> list[float]:
        """Their scores."""


@dataclass(frozen=True)
class Canary:
    """Ids of seeds, the query that they gave, a unit vector [d], and ids and scores of the items found, best first."""

    seeds: list[str]
    query: list[float]
    items: list[str]
    scores: list[float]

    @property
    def given(self) -> list[str]:
        """Ids of the seeds."""
        return self.seeds


@dataclass(frozen=True)
class SessionCanary:
    """Ids of the items of a session, oldest first, and ids and scores of the items found, best first."""

    session: list[str]
    items: list[str]
    scores: list[float]

    @property
    def given(self) -> list[str]:
        """Ids of the items of the session."""
        return self.session


AnyCanary = TypeVar("AnyCanary", Canary, SessionCanary)


def ask(retriever: Retriever[Query], items: Items, seeds: Sequence[str], k: int = K) -> Canary:
    """Asks as the service does: seeds by id, all of them in the index, and no seed among the answers."""
    rows = items.rows_of(seeds)
    query = Query(items.embeddings[rows].astype(np.float32), min(k, len(items.index)), exclude=rows)
    (found,) = retriever.retrieve([query])
    return Canary(list(seeds), found.query.tolist(), items.ids_of(found.rows), found.scores.tolist())


def ask_session(
    retriever: Retriever[SessionQuery], items: ItemTable, session: Sequence[str], k: int = K
) -> SessionCanary:
    """Asks as the service does: items by id, all of them known, and none of them among the answers."""
    rows = items.rows_of(session)
    (found,) = retriever.retrieve([SessionQuery(rows, k, rows)])
    return SessionCanary(list(session), items.ids_of(found.rows), found.scores.tolist())


def save_canaries(canaries: Sequence[AnyCanary], path: Path) -> None:
    """Writes them as JSON."""
    path.write_text(json.dumps([asdict(canary) for canary in canaries], indent=1) + "\n", encoding="utf-8")


def load_canaries(path: Path, kind: type[AnyCanary]) -> list[AnyCanary]:
    """Reads what `save_canaries` wrote of a kind.

    Raises:
        ArtifactError: The file has no canary, or is something else.
    """
    canaries = read_document(path, list)
    if not canaries:
        raise ArtifactError(f"{path} holds no canaries")
    return [parse_document(canary, kind, str(path)) for canary in canaries]


def expect_answers(canaries: Sequence[Canary], retriever: Retriever[Query], items: Items, source: str) -> None:
    """Asks the stored queries again and compares the answers; messages begin with the name of the release, `source`.

    Raises:
        ArtifactError: A seed is unknown, or a query, a score or an item differs by more than the tolerance.
    """
    for number, canary in enumerate(canaries):
        _expect_known(canary, items, f"{source}: canary {number}")
        now = ask(retriever, items, canary.seeds)
        if not _close(now.query, canary.query):
            raise ArtifactError(f"{source}: canary {number}: the sampler generates another query than the stored one")
        _expect_items(now, canary, f"{source}: canary {number}")


def expect_recommendations(
    canaries: Sequence[SessionCanary], retriever: Retriever[SessionQuery], items: ItemTable, source: str
) -> None:
    """As `expect_answers`, of sessions.

    Raises:
        ArtifactError: An item of a session is unknown, or a score or an item differs by more than the tolerance.
    """
    for number, canary in enumerate(canaries):
        _expect_known(canary, items, f"{source}: canary {number}")
        now = ask_session(retriever, items, canary.session)
        _expect_items(now, canary, f"{source}: canary {number}")


def _expect_known(canary: Answered, items: ItemTable, place: str) -> None:
    if unknown := [name for name, row in zip(canary.given, items.rows_of(canary.given), strict=True) if row < 0]:
        raise ArtifactError(f"{place}: the catalogue has no item {unknown[0]!r}")


def _expect_items(now: Answered, canary: Answered, place: str) -> None:
    if not _close(now.scores, canary.scores) or not _same_items(now, canary):
        raise ArtifactError(f"{place} answers {', '.join(now.items)}; stored is {', '.join(canary.items)}")


def _close(found: Sequence[float], stored: Sequence[float]) -> bool:
    return len(found) == len(stored) and bool(np.allclose(found, stored, rtol=0, atol=TOLERANCE))


def _same_items(now: Answered, stored: Answered) -> bool:
    """Whether the items are the same; those whose scores lie within the tolerance of the last may be others."""
    edge = stored.scores[-1] + TOLERANCE if stored.scores else 0.0
    sure = {name for name, score in zip(stored.items, stored.scores, strict=True) if score > edge}
    return len(now.items) == len(stored.items) and sure <= set(now.items)
