"""The task of `/v1/recommend`: a session in, items out that are likely to be next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modit.inference.retrieval import SearchResult
from modit.inference.sessions import SessionQuery
from modit.release.bundle.release import NextItemRelease
from modit.serve.metrics import SESSION_ITEMS
from modit.serve.schema import (
    RecommendAnswer,
    RecommendedItem,
    RecommendRequest,
    RequestError,
    expect_range,
    shown,
)
from modit.serve.settings import Limits
from modit.serve.task_items import answer_fields, candidates_of, item_fields
from modit.serve.tasks import Placed, TaskQuery


@dataclass(frozen=True)
class ReadSession(TaskQuery[RecommendRequest]):
    """A request with a session that was read.

    Attributes:
        query: what is asked of the release.
        unknown: ids of the session that the catalogue does not have, in their order.
    """

    query: SessionQuery
    unknown: list[str]


class RecommendTask:
    """Answers requests with sessions."""

    def __init__(self, limits: Limits) -> None:
        """Prepares to answer.

        Args:
            limits: of a request.
        """
        self.limits = limits

    def read(self, placed: Sequence[Placed[RecommendRequest]], release: NextItemRelease) -> list[ReadSession]:
        """Reads sessions; raises RequestError."""
        found = []
        for each in placed:
            with each.refusals():
                found.append(self._read(each.request, release))
        return found

    def search(self, queries: Sequence[ReadSession], release: NextItemRelease) -> list[SearchResult]:
        """Decodes the IDs of all sessions at once."""
        return release.retriever.retrieve([each.query for each in queries])

    def answer(self, query: ReadSession, result: SearchResult, release: NextItemRelease) -> RecommendAnswer:
        """Makes the answer for the caller, and counts the items of its session."""
        SESSION_ITEMS.labels("known").inc(len(query.query.history))
        SESSION_ITEMS.labels("unknown").inc(len(query.unknown))
        return RecommendAnswer(
            **answer_fields(release),
            items=[RecommendedItem(**fields) for fields in item_fields(result, release.items)],
            items_read=min(len(query.query.history), release.retriever.session_items),
            # JSON may hold half of a surrogate pair, which UTF-8 cannot.
            ignored_item_ids=[each.encode(errors="replace").decode() for each in dict.fromkeys(query.unknown)],
        )

    def _read(self, request: RecommendRequest, release: NextItemRelease) -> ReadSession:
        ids = request.session
        expect_range("number of items in session", len(ids), 0, self.limits.session)
        rows = release.items.rows_of(ids)
        history, unknown = rows[rows >= 0], [name for name, row in zip(ids, rows.tolist(), strict=True) if row < 0]
        if unknown and not len(history):
            allowed = f"an empty list, or at least one id of the catalogue of {release.label}"
            message = f"None of the items {shown(unknown)} of the session is known; allowed: {allowed}."
            raise RequestError("session", unknown, allowed, message=message)
        may_repeat = release.may_repeat if request.repeat is None else request.repeat
        own = np.empty(0, np.int64) if may_repeat else history
        exclude, allowed_rows = candidates_of(request, release.items, self.limits, own)
        return ReadSession(request, len(ids), [], SessionQuery(history, request.k, exclude, allowed_rows), unknown)
