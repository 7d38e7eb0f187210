"""Reads the item table: every row checked, embeddings normalised, in one pass over Arrow batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.catalog import ATTRIBUTE_PREFIX
from modit.data.contract import ItemLayout, check_items
from modit.data.facts import Fact, refuse
from modit.data.params import ValidationParams
from modit.data.parts import Part, find_parts, stream
from modit.data.positions import Positions
from modit.data.problems import ProblemLog
from modit.data.quarantine import COLUMNS, Quarantine
from modit.data.tolerance import allowed_of_items

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Items:
    """The checked item table; arrays as in `Catalog`.

    Attributes:
        item_ids: unicode [N], unique.
        embeddings: float32 [N, d], unit length.
        attributes: domain -> bool [N].
        titles: unicode [N] (an absent title is ""), or None without the column.
        norms: float32 [N], lengths of the embeddings as delivered.
        quarantined: rule -> rows set aside.
        facts: one for each rule on rows.
    """

    item_ids: np.ndarray
    embeddings: np.ndarray
    attributes: dict[str, np.ndarray]
    titles: np.ndarray | None
    norms: np.ndarray
    quarantined: dict[str, int]
    facts: list[Fact]


def read_items(source: Path, quarantine: Path | None = None, params: ValidationParams | None = None) -> Items:
    """Reads and checks `items`.

    Args:
        source: the input folder.
        quarantine: folder for the rows that break a rule; without it no row may.
        params: section `validate_logs`: the lengths that an embedding may have, and how much quarantine is too much.

    Raises:
        ContractError: the schema is wrong, or there is no row; or a row breaks a rule and there is no quarantine.
            All breaches are listed together.
    """
    parts = find_parts(source, "items")
    layout = check_items(parts)
    rows = sum(part.rows for part in parts)
    if rows == 0:
        problems = ProblemLog()
        problems.add("items_not_empty", parts[0].name)
        problems.raise_if_any()
    params = params or ValidationParams()
    with contextlib.ExitStack() as stack:
        folder = quarantine or Path(stack.enter_context(TemporaryDirectory(prefix="modit-")))
        aside = stack.enter_context(Quarantine(folder, "items", COLUMNS["items"]))
        reader = _ItemReader(layout, parts, aside, params)
        for number, part in enumerate(parts):
            for start, batch in stream(part, layout.columns, BATCH_ROWS):
                reader.take(number, start, batch)
        items = reader.finish(rows)
    if quarantine is None:
        refuse(fact for fact in items.facts if fact.rows)
    return items


class _ItemReader:
    """Fills arrays batch by batch, so that embeddings are held once."""

    def __init__(self, layout: ItemLayout, parts: list[Part], aside: Quarantine, params: ValidationParams) -> None:
        self._layout, self._parts, self._aside, self._params = layout, parts, aside, params
        self._rows = sum(part.rows for part in parts)
        self._filled = 0
        self._embeddings: np.ndarray | None = None
        self._norms = np.zeros(self._rows, dtype=np.float32)
        self._attributes = {domain: np.zeros(self._rows, dtype=bool) for domain in layout.domains}
        self._ids: list[np.ndarray] = []
        self._titles: list[np.ndarray] = []
        self._positions = Positions([part.rows for part in parts])

    def take(self, number: int, start: int, batch: pa.RecordBatch) -> None:
        name, kept = self._parts[number].name, np.ones(batch.num_rows, dtype=bool)

        def set_aside(rule: str, column: str, bad: np.ndarray, shown: Sequence[str]) -> None:
            rows = np.flatnonzero(bad)
            values = {"item_id": batch["item_id"].take(pa.array(rows)), "value": pa.array(shown, pa.string())}
            self._aside.add(rule, name, start + rows, values, column, shown[:3], kept[rows])
            np.logical_and(kept, ~bad, out=kept)

        for column in self._layout.columns:
            if column != "title" and batch[column].null_count:
                bad = batch[column].is_null().to_numpy(zero_copy_only=False)
                set_aside("not_null", column, bad, _ids(batch, bad, "" if column == "item_id" else "item_id "))
        empty = pc.fill_null(pc.equal(batch["item_id"].cast(pa.string()), ""), False).to_numpy(zero_copy_only=False)
        if empty.any():
            set_aside("item_id_not_empty", "item_id", empty, _ids(batch, empty, ""))
        vectors = self._vectors(batch, kept, set_aside)
        self._keep(number, start, batch, np.flatnonzero(kept), vectors)

    def finish(self, rows: int) -> Items:
        item_ids = _joined(self._ids) if self._filled else np.zeros(0, dtype=str)
        repeats = _repeats(item_ids)
        for number, chosen, file_rows in self._positions.files(repeats):
            shown = [f"item_id {str(item_ids[row])!r} again" for row in repeats[chosen]]
            values = {"item_id": pa.array(item_ids[repeats[chosen]].tolist(), pa.string()), "value": pa.array(shown)}
            self._aside.add("item_id_unique", self._parts[number].name, file_rows, values, "item_id", shown[:3])
        titles = _joined(self._titles) if self._layout.has_titles and self._filled else None
        embeddings = self._embeddings if self._embeddings is not None else np.zeros((0, 0), np.float32)
        fresh = np.ones(self._filled, dtype=bool)
        fresh[repeats] = False
        # nothing is copied where nothing was set aside
        pick = fresh if len(repeats) else slice(self._filled)

        def good(column: np.ndarray) -> np.ndarray:
            return column[: self._filled][pick]

        return Items(
            item_ids[pick],
            good(embeddings),
            {domain: good(column) for domain, column in self._attributes.items()},
            None if titles is None else titles[pick],
            good(self._norms),
            self._aside.counts,
            self._aside.facts(allowed_of_items(self._params), rows),
        )

    def _keep(self, number: int, start: int, batch: pa.RecordBatch, rows: np.ndarray, vectors: np.ndarray) -> None:
        place = slice(self._filled, self._filled + len(rows))
        whole = len(rows) == batch.num_rows
        chosen = batch if whole else batch.take(pa.array(rows))
        self._positions.add(number, start, batch.num_rows, None if whole else rows)
        if not len(rows):
            return
        if self._embeddings is None:
            self._embeddings = np.zeros((self._rows, vectors.shape[1]), dtype=np.float32)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        self._embeddings[place] = vectors / norms[:, None]
        with np.errstate(over="ignore"):
            self._norms[place] = norms
        self._ids.append(_unicode(chosen["item_id"]))
        if self._layout.has_titles:
            self._titles.append(_unicode(chosen["title"]))
        for domain, column in self._attributes.items():
            column[place] = chosen[ATTRIBUTE_PREFIX + domain].to_numpy(zero_copy_only=False)
        self._filled += len(rows)

    def _vectors(self, batch: pa.RecordBatch, kept: np.ndarray, set_aside: Callable[..., None]) -> np.ndarray:
        """The embeddings of the rows that stay, float32 [n, d]; sets bad ones aside."""
        column = batch["embedding"]
        lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
        dimension = self._dimension(lengths[lengths >= 0])
        wrong = (lengths >= 0) & ((lengths != dimension) | (lengths == 0))
        if wrong.any():
            shown = [f"not {dimension or 'positive'}: {length}" for length in lengths[wrong]]
            set_aside("embedding_dimension", "embedding", wrong, shown)
        rows = np.flatnonzero((lengths == dimension) & (dimension > 0))
        values = column.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is set aside as such
            vectors = values.astype(np.float32, copy=False).reshape(len(rows), dimension)
        for rule, bad, show in self._breaches(vectors):
            caught = np.zeros(len(kept), dtype=bool)
            caught[rows[bad]] = True
            set_aside(rule, "embedding", caught, [show(vectors[row]) for row in np.flatnonzero(bad)])
        good = kept[rows]
        return vectors if good.all() else vectors[good]

    def _dimension(self, lengths: np.ndarray) -> int:
        if self._embeddings is not None:
            return self._embeddings.shape[1]
        # what most rows of the first batch have: one bad row at the head must not condemn all others
        return int(np.bincount(lengths).argmax()) if len(lengths) else 0

    def _breaches(self, vectors: np.ndarray) -> Iterator[tuple[str, np.ndarray, Callable[[np.ndarray], str]]]:
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            yield "embedding_finite", ~finite, _first_bad
        norms = np.linalg.norm(np.where(finite[:, None], vectors, 1.0).astype(np.float64), axis=1)
        if not norms.all():
            yield "embedding_non_zero", norms == 0, _first_bad
        low, high = self._params.embedding_norm_min, self._params.embedding_norm_max
        far = (norms != 0) & ((norms < low) | (norms > high)) & finite
        if far.any():
            yield (
                "embedding_norm",
                far,
                lambda v: f"{np.linalg.norm(v.astype(np.float64)):.4g}, not {low:g} to {high:g}",
            )


def _ids(batch: pa.RecordBatch, bad: np.ndarray, prefix: str) -> list[str]:
    return [f"{prefix}{value!r}" for value in batch["item_id"].take(pa.array(np.flatnonzero(bad))).to_pylist()]


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


def _repeats(item_ids: np.ndarray) -> np.ndarray:
    """Places of ids that have occurred before, ascending."""
    order = np.argsort(item_ids, kind="stable")
    return np.sort(order[1:][item_ids[order[1:]] == item_ids[order[:-1]]])
