"""What all tasks of the API share: how a task is answered, which items may be results, and the fields of an answer.

A task (`Task`) reads its requests, searches, and words the answers. Everything else (which release answers, batches,
the log of requests, the access log) is in `service.py`, once for all tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from modit.inference.items import Items
from modit.inference.retrieval import SearchResult
from modit.release.bundle.loading import Release
from modit.serve.filters import filters_of
from modit.serve.schema import ItemsAnswer, ItemsRequest, RequestError, ResultItem, expect_range
from modit.serve.settings import Limits

R = TypeVar("R", bound=ItemsRequest)
A = TypeVar("A", bound=ItemsAnswer)
A_co = TypeVar("A_co", bound=ItemsAnswer, covariant=True)


@dataclass(frozen=True)
class Placed(Generic[R]):
    """A request and its place in the call, such as `requests.3.` of a batch."""

    request: R
    place: str = ""

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Puts the place before the field of a refusal."""
        try:
            yield
        except RequestError as error:
            error.field = self.place + error.field
            raise


@dataclass(frozen=True)
class TaskQuery(Generic[R]):
    """A request that was read against the release that will answer it.

    Attributes:
        request: as it came.
        size: how many inputs it has, such as seeds.
        anchors: items, id and row, whose neighbours the log of requests may ask for.
    """

    request: R
    size: int
    anchors: list[tuple[str, int]]


Q = TypeVar("Q", bound=TaskQuery)


class Task(Protocol[R, Q, A_co]):
    """One kind of request: what its caller gives, and how it is searched for."""

    def read(self, placed: Sequence[Placed[R]], release: Release) -> list[Q]:
        """Reads requests of one domain against the release that will answer; raises RequestError."""
        ...

    def search(self, queries: Sequence[Q], release: Release) -> list[SearchResult]:
        """Searches for all of them at once."""
        ...

    def answer(self, query: Q, result: SearchResult, release: Release) -> A_co:
        """Makes the answer for the caller."""
        ...


def candidates_of(
    request: ItemsRequest, items: Items, limits: Limits, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Says which rows of the index may be results of a request.

    Args:
        request: of any task.
        items: that are searched.
        limits: of a request.
        own: rows that the task itself excludes, int64 [n], such as those of the seeds.

    Returns:
        Rows that may not be results, int64 [e], and bool [N], the rows that satisfy the filter; None for all.

    Raises:
        RequestError: a value is not allowed.
    """
    expect_range("k", request.k, 1, min(limits.k, len(items.index)))
    expect_range("number of exclude_item_ids", len(request.exclude_item_ids), 0, limits.exclude)
    exclude = items.rows_of(request.exclude_item_ids)
    rows = np.unique(np.concatenate([own, exclude[exclude >= 0]]))
    return rows, filters_of(items).mask(request.filter, limits)


def answer_fields(request: ItemsRequest, result: SearchResult, release: Release) -> dict[str, Any]:
    """The fields that the answers of all tasks have."""
    source = release.source
    fields: dict[str, Any] = {
        "items": _result_items(result, release),
        "domain": source.domain,
        "model": source.model,
        "version": source.version,
        "alias": source.alias,
        "index_digest": source.index_digest,
        "trained": release.untrained is None,
    }
    return fields | ({"query": result.query.tolist()} if request.return_query else {})


def _result_items(result: SearchResult, release: Release) -> list[ResultItem]:
    items, rows = release.items, result.rows
    verdicts = values_at(items.verdicts(release.source.domain), rows)
    chances = probabilities_at(release, rows, verdicts)
    columns = zip(items.ids_of(rows), result.scores.tolist(), verdicts, chances, items.titles_of(rows), strict=True)
    return [
        ResultItem(
            item_id=item_id,
            score=score,
            verdict=verdict,
            probability=chance,
            **({} if title is None else {"title": title}),
        )
        for item_id, score, verdict, chance, title in columns
    ]


def probabilities_at(release: Release, rows: np.ndarray, verdicts: Sequence[bool | None]) -> list[float | None]:
    """How likely items have the attribute.

    Args:
        release: that answers.
        rows: int64 [n], -1 for an item that its catalogue does not have.
        verdicts: stored, of the same items.

    Returns:
        n values in [0, 1]; None where the verdict is stored, the item is not there, or there is no second stage.
    """
    if (chances := release.probabilities(rows)) is None:
        return [None] * len(rows)
    unknown = [verdict is None and row >= 0 for verdict, row in zip(verdicts, rows.tolist(), strict=True)]
    return [chance if there else None for chance, there in zip(chances, unknown, strict=True)]


def values_at(column: pa.ChunkedArray | None, rows: np.ndarray) -> list[Any]:
    """Values of a column of the catalogue, such as titles or verdicts.

    Args:
        column: [N] with nulls; None for a column that the catalogue does not have.
        rows: int64 [n], -1 for an item that the catalogue does not have.

    Returns:
        n values; None for a null, an item that is not there, or a column that is not there.
    """
    return [None] * len(rows) if column is None else column.take(pa.array(rows, mask=rows < 0)).to_pylist()
