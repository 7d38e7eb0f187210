"""The task of `/v1/search`: a text in, items out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modit.inference.retrieval import SearchResult
from modit.inference.texts import TextQuery
from modit.release.bundle.release import SearchRelease
from modit.serve.metrics import QUERY_WORDS
from modit.serve.schema import FoundItem, RequestError, SearchAnswer, SearchRequest, expect_range
from modit.serve.settings import Limits
from modit.serve.task_items import answer_fields, candidates_of, item_fields
from modit.serve.tasks import Placed, TaskQuery

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class ReadText(TaskQuery[SearchRequest]):
    """A request with a text that was read.

    Attributes:
        query: what is asked of the release.
        unknown: words that no title has, in their order.
    """

    query: TextQuery
    unknown: list[str]


class SearchTask:
    """Answers requests with texts."""

    def __init__(self, limits: Limits) -> None:
        """Prepares to answer.

        Args:
            limits: of a request.
        """
        self.limits = limits

    def read(self, placed: Sequence[Placed[SearchRequest]], release: SearchRelease) -> list[ReadText]:
        """Reads texts; raises RequestError."""
        found = []
        for each in placed:
            with each.refusals():
                found.append(self._read(each.request, release))
        return found

    def search(self, queries: Sequence[ReadText], release: SearchRelease) -> list[SearchResult]:
        """Searches for all texts at once."""
        return release.retriever.retrieve([each.query for each in queries])

    def answer(self, query: ReadText, result: SearchResult, release: SearchRelease) -> SearchAnswer:
        """Makes the answer for the caller, and counts the words of its text."""
        QUERY_WORDS.labels("known").inc(query.size - len(query.unknown))
        QUERY_WORDS.labels("unknown").inc(len(query.unknown))
        return SearchAnswer(
            **answer_fields(release),
            items=[FoundItem(**fields) for fields in item_fields(result, release.items)],
            words_read=query.size,
            unknown_words=list(dict.fromkeys(query.unknown)),
        )

    def _read(self, request: SearchRequest, release: SearchRelease) -> ReadText:
        # JSON may hold half of a surrogate pair, which UTF-8 cannot.
        text = request.text.encode(errors="replace").decode()
        expect_range("number of characters in text", len(text), 1, self.limits.query)
        words = release.retriever.words_of(text)
        if not words:
            raise RequestError("text", request.text, "a text with a letter or digit")
        unknown = [word for word in words if not release.retriever.words.knows(word)]
        exclude, allowed = candidates_of(request, release.items, self.limits, _NO_ROWS)
        return ReadText(request, len(words), [], TextQuery(text, request.k, exclude=exclude, allowed=allowed), unknown)
