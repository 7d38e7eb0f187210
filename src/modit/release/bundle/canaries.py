"""Canary queries of a bundle: a few evaluation cases, and what the release answered to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from modit.core.errors import ArtifactError
from modit.inference.items import Items, ItemTable
from modit.inference.retrieval import Query, Retriever
from modit.inference.sessions import SessionQuery
from modit.inference.texts import TextQuery
from modit.release.documents import parse_document, read_document

K = 10
# Another processor may sum float32 in another order. Another model or another item differs by far more.
TOLERANCE = 1e-3


class Answered(Protocol):
    """What canaries of all kinds have: what was given, and ids and scores of the items found, best first."""

    @property
    def given(self) -> list[str]:
        """Ids of the items that the query was made of, or its text."""

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


@dataclass(frozen=True)
class TextCanary:
    """A text, and ids and scores of the items found, best first."""

    text: str
    items: list[str]
    scores: list[float]

    @property
    def given(self) -> list[str]:
        """The text."""
        return [self.text]


AnyCanary = TypeVar("AnyCanary", Canary, SessionCanary, TextCanary)
ListCanary = SessionCanary | TextCanary


def ask(retriever: Retriever[Query], items: Items, seeds: Sequence[str], k: int = K) -> Canary:
    """Asks as the service does: seeds by id, all of them in the index, and no seed among the answers."""
    rows = items.rows_of(seeds)
    query = Query(items.embeddings[rows].astype(np.float32), min(k, len(items.index)), exclude=rows)
    (found,) = retriever.retrieve([query])
    return Canary(list(seeds), found.query.tolist(), items.ids_of(found.rows), found.scores.tolist())


def ask_session(
    retriever: Retriever[SessionQuery], items: ItemTable, session: Sequence[str], k: int = K
) -> SessionCanary:
    """Asks as the service does: items by id, and none of them among the answers.

    Raises:
        ArtifactError: One is not known.
    """
    _expect_known(session, items)
    rows = items.rows_of(session)
    (found,) = retriever.retrieve([SessionQuery(rows, k, rows)])
    return SessionCanary(list(session), items.ids_of(found.rows), found.scores.tolist())


def ask_text(retriever: Retriever[TextQuery], items: ItemTable, text: str, k: int = K) -> TextCanary:
    """Asks as the service does."""
    (found,) = retriever.retrieve([TextQuery(text, k)])
    return TextCanary(text, items.ids_of(found.rows), found.scores.tolist())


def save_canaries(canaries: Sequence[Canary | ListCanary], path: Path) -> None:
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


def example_request(path: Path) -> dict[str, Any]:
    """The request of the last of the canaries in a file, as the service takes it; the first may be unusual ones."""
    canary = read_document(path, list)[-1]
    if "seeds" in canary:
        return {"seeds": {"item_ids": canary["seeds"]}, "k": K}
    given = "session" if "session" in canary else "text"
    return {given: canary[given], "k": K}


def expect_answers(canaries: Sequence[Canary], retriever: Retriever[Query], items: Items, source: str) -> None:
    """Asks the stored queries again and compares the answers; messages begin with the name of the release, `source`.

    Raises:
        ArtifactError: A seed is unknown, or a query, a score or an item differs by more than the tolerance.
    """
    for number, (canary, now) in enumerate(_asked_again(canaries, retriever, items, source)):
        _expect_items(now, canary, f"{source}: canary {number}")


def share_found(canaries: Sequence[Canary], retriever: Retriever[Query], items: Items, source: str) -> float:
    """As `expect_answers`, of an index that need not find the very items: an approximate one, or one with new items.

    Returns:
        The share of the stored items that it finds, in [0, 1].

    Raises:
        ArtifactError: A seed is unknown or a query differs by more than the tolerance.
    """
    asked = list(_asked_again(canaries, retriever, items, source))
    found = sum(len({*now.items} & {*canary.items}) for canary, now in asked)
    return found / max(1, sum(len(canary.items) for canary, _ in asked))


def _asked_again(
    canaries: Sequence[Canary], retriever: Retriever[Query], items: Items, source: str
) -> Iterator[tuple[Canary, Canary]]:
    for number, canary in enumerate(canaries):
        with _named(f"{source}: canary {number}"):
            _expect_known(canary.seeds, items)
        now = ask(retriever, items, canary.seeds)
        if not _close(now.query, canary.query):
            raise ArtifactError(f"{source}: canary {number}: the sampler generates another query than the stored one")
        yield canary, now


def expect_lists(canaries: Sequence[ListCanary], ask_again: Callable[[Sequence[str]], ListCanary], source: str) -> None:
    """As `expect_answers`, of canaries that have no query vector.

    Args:
        canaries: Stored.
        ask_again: Asks with what a canary was given.
        source: Name of the release, which messages begin with.

    Raises:
        ArtifactError: An item of a session is unknown, or a score or an item differs by more than the tolerance.
    """
    for number, canary in enumerate(canaries):
        with _named(f"{source}: canary {number}"):
            now = ask_again(canary.given)
        _expect_items(now, canary, f"{source}: canary {number}")


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Puts the place before a message."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{place}: {error}") from error


def _expect_known(item_ids: Sequence[str], items: ItemTable) -> None:
    if unknown := [name for name, row in zip(item_ids, items.rows_of(item_ids), strict=True) if row < 0]:
        raise ArtifactError(f"the catalogue has no item {unknown[0]!r}")


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
