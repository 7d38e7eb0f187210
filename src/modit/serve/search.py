"""The task of `/v1/search`: a text in, items out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from modit.inference.items import ItemTable
from modit.inference.retrieval import SearchResult
from modit.inference.texts import TextQuery
from modit.release.bundle.release import SearchRelease
from modit.serve.metrics import QUERY_WORDS
from modit.serve.schema import FanOutRequest, FoundItem, RequestError, SearchAnswer, SearchRequest, expect_range
from modit.serve.settings import Limits
from modit.serve.task_items import answer_fields, candidates_of, item_fields
from modit.serve.tasks import Placed, TaskQuery

_NO_ROWS = np.empty(0, np.int64)
T = TypeVar("T", SearchRequest, FanOutRequest)


@dataclass(frozen=True)
class ReadText(TaskQuery[T], Generic[T]):
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

    def read(self, placed: Sequence[Placed[SearchRequest]], release: SearchRelease) -> list[ReadText[SearchRequest]]:
        """Reads texts; raises RequestError."""
        found, retriever = [], release.retriever
        for each in placed:
            with each.refusals():
                read = read_text(each.request, release.items, self.limits, retriever.words_of, retriever.words.knows)
                found.append(read)
        return found

    def search(self, queries: Sequence[ReadText[SearchRequest]], release: SearchRelease) -> list[SearchResult]:
        """Searches for all texts at once."""
        return release.retriever.retrieve([each.query for each in queries])

    def answer(self, query: ReadText[SearchRequest], result: SearchResult, release: SearchRelease) -> SearchAnswer:
        """Makes the answer for the caller, and counts the words of its text."""
        count_words(query)
        return SearchAnswer(
            **answer_fields(release),
            items=[FoundItem(**fields) for fields in item_fields(result, release.items)],
            words_read=query.size,
            unknown_words=list(dict.fromkeys(query.unknown)),
        )


def read_text(
    request: T,
    items: ItemTable,
    limits: Limits,
    words_of: Callable[[str], list[str]],
    knows: Callable[[str], bool],
) -> ReadText[T]:
    """Reads a request with a text.

    Args:
        request: of a search or a fan-out.
        items: that are searched.
        limits: of a request.
        words_of: the words of a text that are read.
        knows: whether a title has a word.

    Raises:
        RequestError: a value is not allowed.
    """
    # JSON may hold half of a surrogate pair, which UTF-8 cannot.
    text = request.text.encode(errors="replace").decode()
    expect_range("number of characters in text", len(text), 1, limits.query)
    words = words_of(text)
    if not words:
        raise RequestError("text", request.text, "a text with a letter or digit")
    unknown = [word for word in words if not knows(word)]
    exclude, allowed = candidates_of(request, items, limits, _NO_ROWS)
    return ReadText(request, len(words), [], TextQuery(text, request.k, exclude=exclude, allowed=allowed), unknown)


def count_words(query: ReadText[T]) -> None:
    """Counts the words of a text for the metrics."""
    QUERY_WORDS.labels("known").inc(query.size - len(query.unknown))
    QUERY_WORDS.labels("unknown").inc(len(query.unknown))
