"""The task of `/v1/fan_out`: an intent in, several queries and a set of the items that they find out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modit.inference.retrieval import SearchResult
from modit.release.bundle.release import FanOutRelease
from modit.serve.schema import FanOutAnswer, FanOutRequest, SetItem, SetQuery
from modit.serve.search import ReadText, count_words, read_text
from modit.serve.settings import Limits
from modit.serve.task_items import answer_fields, item_fields
from modit.serve.tasks import Placed


class FanOutTask:
    """Answers requests with intents."""

    def __init__(self, limits: Limits) -> None:
        """Prepares to answer.

        Args:
            limits: of a request.
        """
        self.limits = limits

    def read(self, placed: Sequence[Placed[FanOutRequest]], release: FanOutRelease) -> list[ReadText[FanOutRequest]]:
        """Reads intents; raises RequestError."""
        found, retriever = [], release.retriever
        for each in placed:
            with each.refusals():
                read = read_text(each.request, release.items, self.limits, retriever.words_of, retriever.knows)
                found.append(read)
        return found

    def search(self, queries: Sequence[ReadText[FanOutRequest]], release: FanOutRelease) -> list[SearchResult]:
        """Samples the queries of all intents at once, and searches with them."""
        return release.retriever.retrieve([each.query for each in queries])

    def answer(self, query: ReadText[FanOutRequest], result: SearchResult, release: FanOutRelease) -> FanOutAnswer:
        """Makes the answer for the caller, and counts the words of its intent."""
        count_words(query)
        nearest = release.retriever.nearest_queries(result)
        items = zip(item_fields(result, release.items), nearest, strict=True)
        return FanOutAnswer(
            **answer_fields(release),
            items=[SetItem(**fields, **_given(query=number)) for fields, number in items],
            queries=self._queries(query.request, result, release),
            words_read=query.size,
            unknown_words=list(dict.fromkeys(query.unknown)),
        )

    def _queries(self, request: FanOutRequest, result: SearchResult, release: FanOutRelease) -> list[SetQuery]:
        made, items = result.query_set, release.items
        assert made is not None  # noqa: S101 - a fan-out always has one
        vectors = made.vectors.tolist() if request.return_vectors else [None] * len(made.vectors)
        if not len(result.rows):
            return [SetQuery(item_id=None, **_given(vector=vector)) for vector in vectors]
        first = zip(items.ids_of(made.first), items.titles_of(made.first), vectors, strict=True)
        return [SetQuery(item_id=item, **_given(title=title, vector=vector)) for item, title, vector in first]


def _given(**fields: Any) -> dict[str, Any]:
    """Fields that there are: an answer leaves out the others."""
    return {name: value for name, value in fields.items() if value is not None}
