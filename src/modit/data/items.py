"""Reads the item table: every row checked, embeddings normalised, in one pass over Arrow batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.catalog import ATTRIBUTE_PREFIX
from modit.data.contract import ItemLayout, check_items
from modit.data.parts import Part, find_parts, stream
from modit.data.problems import ProblemLog

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Items:
    """The checked item table; arrays as in `Catalog`.

    Attributes:
        item_ids: unicode [N], unique.
        embeddings: float32 [N, d], unit length.
        attributes: domain -> bool [N].
        titles: unicode [N] (an absent title is ""), or None without the column.
    """

    item_ids: np.ndarray
    embeddings: np.ndarray
    attributes: dict[str, np.ndarray]
    titles: np.ndarray | None


def read_items(source: Path) -> Items:
    """Reads and checks `items`.

    Args:
        source: the input folder.

    Raises:
        ContractError: any rule of the contract on items is broken; all breaches are listed together.
    """
    parts = find_parts(source, "items")
    layout = check_items(parts)
    problems = ProblemLog()
    rows = sum(part.rows for part in parts)
    if rows == 0:
        problems.add("items_not_empty", parts[0].name)
        problems.raise_if_any()
    reader = _ItemReader(layout, rows, problems)
    for part in parts:
        for start, batch in stream(part, layout.columns, BATCH_ROWS):
            reader.take(part, start, batch)
    problems.raise_if_any()
    items = reader.finish()
    _check_unique(items.item_ids, parts, problems)
    problems.raise_if_any()
    return items


class _ItemReader:
    """Fills arrays of the final size batch by batch, so that embeddings are held once."""

    def __init__(self, layout: ItemLayout, rows: int, problems: ProblemLog) -> None:
        self._layout = layout
        self._rows = rows
        self._problems = problems
        self._filled = 0
        self._embeddings: np.ndarray | None = None
        self._attributes = {domain: np.zeros(rows, dtype=bool) for domain in layout.domains}
        self._ids: list[np.ndarray] = []
        self._titles: list[np.ndarray] = []

    def take(self, part: Part, start: int, batch: pa.RecordBatch) -> None:
        place = slice(self._filled, self._filled + batch.num_rows)
        for name in self._layout.columns:
            if name != "title":
                self._report(batch[name].is_null(), "not_null", part, start, name, batch["item_id"])
        empty = pc.fill_null(pc.equal(batch["item_id"].cast(pa.string()), ""), False)
        self._report(empty, "item_id_not_empty", part, start, "item_id", batch["item_id"])
        self._ids.append(_unicode(batch["item_id"]))
        if self._layout.has_titles:
            self._titles.append(_unicode(batch["title"]))
        for domain, column in self._attributes.items():
            column[place] = pc.fill_null(batch[ATTRIBUTE_PREFIX + domain], False).to_numpy(zero_copy_only=False)
        self._take_embeddings(part, start, batch, place)
        self._filled += batch.num_rows

    def finish(self) -> Items:
        assert self._embeddings is not None  # there is at least one row, and none broke a rule
        titles = _joined(self._titles) if self._layout.has_titles else None
        return Items(_joined(self._ids), self._embeddings, self._attributes, titles)

    def _take_embeddings(self, part: Part, start: int, batch: pa.RecordBatch, place: slice) -> None:
        column = batch["embedding"]
        lengths = pc.list_value_length(column)
        if self._embeddings is None:
            present = lengths.filter(pc.greater(lengths, 0))
            dimension = present[0].as_py() if len(present) else 0
            self._embeddings = np.zeros((self._rows, dimension), dtype=np.float32) if dimension else None
        else:
            dimension = self._embeddings.shape[1]
        fits = pc.and_(pc.equal(lengths, dimension), pc.greater(lengths, 0))
        wrong = pc.fill_null(pc.invert(fits), False)
        self._report(
            wrong, "embedding_dimension", part, start, "embedding", lengths, f"not {dimension or 'positive'}: "
        )
        if self._embeddings is None:
            return
        rows = np.flatnonzero(pc.fill_null(fits, False).to_numpy(zero_copy_only=False))
        values = column.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is reported as such
            vectors = values.astype(np.float32, copy=False).reshape(-1, dimension)
        self._embeddings[place][rows] = self._normalised(part, start + rows, vectors)

    def _normalised(self, part: Part, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        finite = np.isfinite(vectors).all(axis=1)
        norms = np.linalg.norm(np.where(finite[:, None], vectors, 1.0).astype(np.float64), axis=1)
        for rule, bad in (("embedding_finite", ~finite), ("embedding_non_zero", norms == 0)):
            found = np.flatnonzero(bad)
            examples = [_first_bad(vectors[index]) for index in found[:3]]
            self._problems.add_rows(rule, part.name, "embedding", rows[found], examples)
        return vectors / np.where(norms == 0, 1.0, norms)[:, None]

    def _report(
        self, bad: pa.Array, rule: str, part: Part, start: int, column: str, shown: pa.Array, prefix: str = ""
    ) -> None:
        found = np.flatnonzero(bad.to_numpy(zero_copy_only=False))
        if prefix == "" and column != "item_id":
            prefix = "item_id "
        examples = [f"{prefix}{shown[int(index)].as_py()!r}" for index in found[:3]]
        self._problems.add_rows(rule, part.name, column, start + found, examples)


def _first_bad(vector: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(vector))
    return f"{vector[bad[0]]} at number {bad[0]}" if len(bad) else f"{len(vector)} zeros"


def _unicode(column: pa.Array) -> np.ndarray:
    return np.array(pc.fill_null(column.cast(pa.large_string()), "").to_pylist(), dtype=str)


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    """Joins unicode arrays and empties the list on the way, so that the text is not held twice."""
    rows = sum(len(chunk) for chunk in chunks)
    joined = np.empty(rows, dtype=max((chunk.dtype for chunk in chunks), key=lambda kind: kind.itemsize))
    while chunks:
        chunk = chunks.pop()
        joined[rows - len(chunk) : rows] = chunk
        rows -= len(chunk)
    return joined


def _check_unique(item_ids: np.ndarray, parts: list[Part], problems: ProblemLog) -> None:
    order = np.argsort(item_ids, kind="stable")
    repeats = np.sort(order[1:][item_ids[order[1:]] == item_ids[order[:-1]]])
    starts = np.cumsum([0, *(part.rows for part in parts)])
    for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
        rows = repeats[(repeats >= start) & (repeats < end)]
        examples = [f"item_id {str(item_ids[row])!r} again" for row in rows[:3]]
        problems.add_rows("item_id_unique", part.name, "item_id", rows - start, examples)
