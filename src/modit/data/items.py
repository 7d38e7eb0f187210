"""Reads the item table: rows are checked by the engine, good embeddings are normalised batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.catalog import ATTRIBUTE_PREFIX, NOT_SCORED
from modit.data.contract import identifier
from modit.data.engine import Engine
from modit.data.mapping import TableLayout
from modit.data.measurements import Measurement
from modit.data.problems import breach
from modit.data.rules import NORM, RowCheck, all_broken, item_checks
from modit.data.table import Ingest, RowCounts, Table
from modit.data.text_vectors import text_vectors

_BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class Items:
    """The checked item table; arrays as in `Catalog`.

    Attributes:
        item_ids: unicode [N], unique.
        embeddings: float32 [N, d], unit length.
        verdicts: domain -> int8 [N]; `NOT_SCORED` where the input has none.
        titles: unicode [N] (an absent title is ""), or None without the column.
        norms: float32 [N], lengths of the embeddings as delivered.
        counts: what happened to the rows.
        measurements: one for each rule that was measured.
        layout: the columns as they were understood.
    """

    item_ids: np.ndarray
    embeddings: np.ndarray
    verdicts: dict[str, np.ndarray]
    titles: np.ndarray | None
    norms: np.ndarray
    counts: RowCounts
    measurements: list[Measurement]
    layout: TableLayout


def read_items(ingest: Ingest) -> Items:
    """Reads and checks `items`; gives the engine the table `items`: `item_id`, and `item`, its row in the catalogue.

    Raises:
        ContractError: the columns are not those of the contract, a file cannot be read, or there is no row.
    """
    table = Table("items", ingest)
    layout, rows = table.layout, table.count()
    if rows == 0:
        raise breach("items_not_empty", layout.files[0].name)
    with table.decoding():
        dimension = _usual_dimension(table, ingest.engine) if "embedding" in layout.columns else None
        attributes = [ATTRIBUTE_PREFIX + domain for domain in layout.domains]
        columns = {name: layout.columns[name].column for name in attributes}
        checks = item_checks(columns, dimension, ingest.params, _text_of(layout))
        embeddings, norms, others = _read_good_rows(table, ingest.engine, checks, rows, dimension)
    is_repeat = _set_repeats_aside(ingest.engine, others, checks)
    quarantined, measurements = table.set_aside("refused_items", ("item_id", "value"), checks, rows, shown="value")
    # nothing is copied where nothing was set aside
    pick = np.flatnonzero(~is_repeat) if is_repeat.any() else slice(len(is_repeat))
    others = others.filter(pa.array(~is_repeat))
    if dimension is None:
        embeddings, norms, pick = (
            text_vectors(others["text"].to_pylist()),
            np.ones(len(others), np.float32),
            slice(None),
        )
    return Items(
        _unicode(others["item_id"]),
        embeddings[pick],
        {
            domain: pc.fill_null(others[name], NOT_SCORED).to_numpy()
            for domain, name in zip(layout.domains, attributes, strict=True)
        },
        _unicode(others["title"]) if "title" in layout.columns else None,
        norms[pick],
        RowCounts(rows, 0, quarantined, len(others)),
        measurements,
        layout,
    )


def _read_good_rows(
    table: Table, engine: Engine, checks: list[RowCheck], rows: int, dimension: int | None
) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """Embeddings float32 [rows, d] and their lengths, filled from the top, and the other columns of the good rows.

    Without a dimension there are no embeddings; then the other columns have `text`. The engine's table
    `refused_batches` gets the bad rows.
    """
    names = ["pos", *(name for name in table.layout.columns if name != "embedding")]
    norm, vector = (NORM.format(dimension=dimension), "embedding") if dimension is not None else ("NULL", "text")
    query = f"SELECT {vector}, {', '.join(map(identifier, names))}, {all_broken(checks)} AS breaches "
    text = f"{_text_of(table.layout)} AS text, " if dimension is None else ""
    query += f"FROM (SELECT *, {text}{norm} AS norm, false AS is_repeat FROM ({table.rows()}))"
    embeddings, norms = np.zeros((rows, dimension or 0), np.float32), np.zeros(rows, np.float32)
    kept, refused, filled = [], [], 0
    for batch in engine.batches(query, _BATCH_ROWS):
        is_bad = pc.is_valid(batch["breaches"])
        refused.append(pa.Table.from_batches([batch]).select(["pos", "item_id", "breaches"]).filter(is_bad))
        good = pa.Table.from_batches([batch]).filter(pc.invert(is_bad)).combine_chunks()
        place = slice(filled, filled + len(good))
        filled = place.stop
        if dimension is not None:
            embeddings[place], norms[place] = _normalised(good["embedding"], dimension)
        kept.append(good.select(names if dimension is not None else [*names, "text"]))
    engine.save("refused_batches", pa.concat_tables(refused))
    return embeddings, norms, pa.concat_tables(kept)


def _set_repeats_aside(engine: Engine, rows: pa.Table, checks: list[RowCheck]) -> np.ndarray:
    """Bool [n]: rows whose id has occurred before; makes the engine's tables `items` and `refused_items`."""
    places = pa.array(np.arange(len(rows)))
    engine.save("checked_items", rows.select(["pos", "item_id"]).append_column("place", places))
    engine.run(
        "CREATE OR REPLACE TABLE numbered AS SELECT *, "
        "row_number() OVER (PARTITION BY item_id ORDER BY place) > 1 AS is_repeat FROM checked_items"
    )
    engine.run(
        "CREATE OR REPLACE TABLE items AS "
        "SELECT item_id, CAST(row_number() OVER (ORDER BY place) - 1 AS INTEGER) AS item "
        "FROM numbered WHERE NOT is_repeat"
    )
    number, unique = len(checks) - 1, checks[-1]
    engine.run(
        "CREATE OR REPLACE TABLE refused_items AS "
        "SELECT pos, item_id, unnest(breaches, recursive := true) FROM refused_batches UNION ALL "
        f"SELECT pos, item_id, {number}, {unique.shown} FROM numbered WHERE {unique.broken}"
    )
    is_repeat = np.zeros(len(rows), dtype=bool)
    is_repeat[engine.arrays("SELECT place FROM numbered WHERE is_repeat")["place"]] = True
    return is_repeat


def _text_of(layout: TableLayout) -> str:
    """SQL of an item's text: its title, or where that is empty its description."""
    texts = [f"nullif(trim({name}), '')" for name in ("title", "description") if name in layout.columns]
    return "coalesce(" + ", ".join([*texts, "''"]) + ")"


def _usual_dimension(table: Table, engine: Engine) -> int:
    """The length that most of the first embeddings have: one bad row at the head must not condemn all others."""
    lengths = engine.rows(
        f"SELECT len(embedding) FROM (SELECT embedding FROM ({table.rows()}) LIMIT {_BATCH_ROWS}) "
        "WHERE embedding IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, len(embedding) LIMIT 1"
    )
    return lengths[0][0] if lengths else 0


def _normalised(column: pa.ChunkedArray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of unit length [n, d], and their lengths as delivered [n]."""
    values = pc.list_flatten(column).to_numpy()
    vectors = values.astype(np.float32, copy=False).reshape(len(column), dimension)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return vectors / norms[:, None], norms


def _unicode(column: pa.ChunkedArray) -> np.ndarray:
    return np.concatenate(
        [np.zeros(0, dtype=str), *(np.array(pc.fill_null(chunk, "").to_pylist(), str) for chunk in column.chunks)]
    )
