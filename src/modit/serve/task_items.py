"""What tasks of the API share about items: which of them may be results, and the fields of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from modit.inference.items import ItemTable
from modit.inference.retrieval import SearchResult
from modit.release.bundle.release import Release, SeedsRelease
from modit.serve.filters import filters_of
from modit.serve.schema import ItemsRequest, expect_range
from modit.serve.settings import Limits


def candidates_of(
    request: ItemsRequest, items: ItemTable, limits: Limits, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Says which rows of the catalogue may be results of a request.

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
    expect_range("k", request.k, 1, min(limits.k, len(items)))
    expect_range("number of exclude_item_ids", len(request.exclude_item_ids), 0, limits.exclude)
    exclude = items.rows_of(request.exclude_item_ids)
    rows = np.unique(np.concatenate([own, exclude[exclude >= 0]]))
    return rows, filters_of(items).mask(request.filter, limits)


def answer_fields(release: Release) -> dict[str, Any]:
    """The fields that the answers of all tasks have, beside the items."""
    source = release.source
    return {
        "model": source.model,
        "version": source.version,
        "alias": source.alias,
        "index_digest": source.index_digest,
    }


def item_fields(result: SearchResult, items: ItemTable) -> list[dict[str, Any]]:
    """The fields that result items of all tasks have, best first: without a title where there is none."""
    columns = zip(items.ids_of(result.rows), result.scores.tolist(), items.titles_of(result.rows), strict=True)
    return [
        {"item_id": item_id, "score": score} | ({} if title is None else {"title": title})
        for item_id, score, title in columns
    ]


def probabilities_at(release: SeedsRelease, rows: np.ndarray, verdicts: Sequence[bool | None]) -> list[float | None]:
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
