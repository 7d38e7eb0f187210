"""Text queries with graded labels, kept beside the catalogue: from the tables `queries` and `labels`, or `bundles`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.core.errors import InsufficientDataError
from modit.data.engine import Engine
from modit.data.files import PARQUET, find_files
from modit.data.mapping import TableLayout
from modit.data.measurements import Measurement
from modit.data.parquet import read_parquet
from modit.data.problems import breach
from modit.data.rules import JUDGEMENT_CHECKS, QUERY_CHECKS, SPLIT_WORDS, RowCheck, first_broken
from modit.data.splits import TEST, TRAIN, VALIDATION, item_split
from modit.data.table import Ingest, RowCounts, Table

QUERIES_FILE, LABELS_FILE = "queries.parquet", "query_labels.parquet"
# Of queries whose split the input does not say.
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.1
# Intents with sets of items, in one table; read where there is no table `queries`.
BUNDLES, BUNDLE_COLUMNS = "bundles", ("bundle_id", "intent", "item_ids")


class QueryPart(StrEnum):
    """A part of the queries."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"

    @property
    def validation(self) -> QueryPart:
        """The queries that settings are chosen on."""
        return QueryPart.VALIDATION

    @property
    def code(self) -> int:
        """Its number in `JudgedQueries.split`."""
        return {QueryPart.TRAIN: TRAIN, QueryPart.VALIDATION: VALIDATION, QueryPart.TEST: TEST}[self]


@dataclass(frozen=True)
class JudgedQueries:
    """Queries and what raters said of some items. An item that is not judged is not known to be irrelevant.

    Attributes:
        query_ids: the caller's ids, unicode [Q], unique.
        texts: unicode [Q].
        split: int8 [Q] of `TRAIN`, `VALIDATION` and `TEST`.
        offsets: int64 [Q + 1]; the labels of query q are `offsets[q]` to before `offsets[q + 1]`.
        items: int32 [L], rows of the catalogue.
        relevance: float32 [L], finite, >= 0.
    """

    query_ids: np.ndarray
    texts: np.ndarray
    split: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    relevance: np.ndarray

    def __len__(self) -> int:
        return len(self.query_ids)

    def of(self, part: QueryPart) -> np.ndarray:
        """The numbers of the queries of a part, int64 [n]."""
        return np.flatnonzero(self.split == part.code)

    def labels(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Judged items [n] and their relevance [n]."""
        place = slice(self.offsets[query], self.offsets[query + 1])
        return self.items[place], self.relevance[place]

    @cached_property
    def owners(self) -> np.ndarray:
        """The query of each label, int64 [L]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def save(self, folder: Path) -> None:
        """Writes `queries.parquet` and `query_labels.parquet`."""
        columns = {"query_id": self.query_ids.tolist(), "text": self.texts.tolist(), "split": self.split}
        pq.write_table(pa.table(columns), folder / QUERIES_FILE)
        labels = {"query": self.owners.astype(np.int32), "item": self.items, "relevance": self.relevance}
        pq.write_table(pa.table(labels), folder / LABELS_FILE)

    @classmethod
    def load(cls, folder: Path) -> JudgedQueries:
        """Reads what `save` wrote.

        Raises:
            InsufficientDataError: the catalogue has no judged queries.
        """
        if not (folder / QUERIES_FILE).exists():
            raise InsufficientDataError(
                "the catalogue has no queries; search needs the tables queries (query_id, text) and labels (query_id, "
                "item_id, relevance), see docs/reference/input-contract.md"
            )
        queries, labels = read_parquet(folder / QUERIES_FILE), read_parquet(folder / LABELS_FILE)
        counts = np.bincount(labels["query"].to_numpy(), minlength=len(queries))
        return cls(
            np.array(queries["query_id"].to_pylist(), str),
            np.array(queries["text"].to_pylist(), str),
            queries["split"].to_numpy(),
            np.concatenate([[0], np.cumsum(counts)]),
            labels["item"].to_numpy(),
            labels["relevance"].to_numpy(),
        )


@dataclass(frozen=True)
class QueryTables:
    """What the tables `queries` and `labels` gave.

    Attributes:
        judged: the good rows.
        counts: table -> what happened to its rows.
        measurements: one for each rule that was measured.
        layouts: the tables as they were understood.
    """

    judged: JudgedQueries
    counts: dict[str, RowCounts]
    measurements: list[Measurement]
    layouts: list[TableLayout]


def read_queries(ingest: Ingest) -> QueryTables:
    """Reads and checks `queries`, then `labels`.

    A query whose split the input does not say gets it from the hash of its text in lower case, so that equal texts are
    in one part: 80 % training, 10 % validation, 10 % test.

    Raises:
        ContractError: the columns are not those of the contract, or a file cannot be read.
    """
    if not ingest.file_of("queries"):
        ingest = replace(ingest, source=_of_bundles(ingest))
    queries, labels, engine = Table("queries", ingest), Table("labels", ingest), ingest.engine
    split = "*" if "split" in queries.layout.columns else "*, NULL::VARCHAR AS split"
    with queries.decoding():
        engine.run(
            f"CREATE OR REPLACE TABLE staged_queries AS SELECT *, {first_broken(QUERY_CHECKS)} AS broken FROM ("
            f"SELECT {split}, {_TIMES.format('query_id')} {queries.rows_in_window()})"
        )
    engine.run(
        "CREATE OR REPLACE TABLE queries AS SELECT query_id, text, lower(trim(split)) AS split, "
        "CAST(row_number() OVER (ORDER BY pos) - 1 AS INTEGER) AS query FROM staged_queries WHERE broken IS NULL"
    )
    joined = "LEFT JOIN (SELECT query_id, query FROM queries) USING (query_id) LEFT JOIN items USING (item_id)"
    with labels.decoding():
        engine.run(
            f"CREATE OR REPLACE TABLE staged_judgements AS SELECT *, {first_broken(JUDGEMENT_CHECKS)} AS broken FROM ("
            f"SELECT *, {_TIMES.format('query_id, item_id')} {labels.rows_in_window(joined)})"
        )
    found = engine.table("SELECT query_id, text, split FROM queries ORDER BY query")
    rows = engine.arrays(
        "SELECT query, item, CAST(relevance AS FLOAT) AS relevance FROM staged_judgements WHERE broken IS NULL "
        "ORDER BY query, pos"
    )
    texts = np.array(found["text"].to_pylist(), str)
    judged = JudgedQueries(
        np.array(found["query_id"].to_pylist(), str),
        texts,
        _splits(texts, found["split"].to_pylist()),
        np.concatenate([[0], np.cumsum(np.bincount(rows["query"], minlength=len(found)))]),
        rows["item"].astype(np.int32),
        rows["relevance"].astype(np.float32),
    )
    of_queries = _set_aside(queries, engine, "staged_queries", QUERY_CHECKS, len(judged))
    of_labels = _set_aside(labels, engine, "staged_judgements", JUDGEMENT_CHECKS, len(judged.items))
    counts = {"queries": of_queries[0], "labels": of_labels[0]}
    return QueryTables(judged, counts, of_queries[1] + of_labels[1], [queries.layout, labels.layout])


def _of_bundles(ingest: Ingest) -> Path:
    """Writes the table `bundles` as `queries` and `labels` in a folder of their own; an item of a set has relevance 1.

    Raises:
        ContractError: the table is not Parquet, or lacks a column.
    """
    files, folder = find_files(ingest.source, BUNDLES, ingest.engine), ingest.engine.folder
    for file in files:
        missing = [name for name in BUNDLE_COLUMNS if name not in file.columns]
        kind = file.columns.get("item_ids", pa.null())
        if missing or file.format != PARQUET or not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise breach(
                "column_present",
                file.name,
                detail=f"a {file.format} file with columns {', '.join(file.columns)}; allowed: Parquet with bundle_id, "
                "intent, and item_ids, a list",
            )
    content = pa.concat_tables([pq.read_table(file.path) for file in files], promote_options="default")
    ids, sets = content["bundle_id"], content["item_ids"].combine_chunks()
    columns = {"query_id": ids, "text": content["intent"]}
    pq.write_table(
        pa.table(columns | ({"split": content["split"]} if "split" in content.column_names else {})),
        folder / "queries.parquet",
    )
    owners, items = pc.list_parent_indices(sets), pc.list_flatten(sets)
    labels = {"query_id": ids.take(owners), "item_id": items, "relevance": pa.array(np.ones(len(items), np.float32))}
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    return folder


# How often a row's key has occurred, itself included.
_TIMES = "count(*) OVER (PARTITION BY {} ORDER BY pos ROWS UNBOUNDED PRECEDING) AS times"


def _set_aside(
    table: Table, engine: Engine, staged: str, checks: Sequence[RowCheck], kept: int
) -> tuple[RowCounts, list[Measurement]]:
    """Writes the rows of a staged table that break a check to the quarantine, and counts all."""
    columns, read = list(table.layout.columns), table.count()
    values = [_NUMBER if name == "relevance" else name for name in columns]
    query = f"SELECT pos, broken, {', '.join(values)} FROM {staged} WHERE broken IS NOT NULL"
    engine.run(f"CREATE OR REPLACE TABLE refused_rows AS {query}")
    quarantined, measurements = table.set_aside("refused_rows", columns, checks, read)
    return RowCounts(read, 0, quarantined, kept), measurements


# As text: what could not be read is as it was written.
_NUMBER = "coalesce(relevance_text, CAST(relevance AS VARCHAR)) AS relevance"


def _splits(texts: np.ndarray, named: list[str | None]) -> np.ndarray:
    drawn = item_split(np.char.lower(texts), TEST_SHARE, VALIDATION_SHARE, "queries")
    return np.array([SPLIT_WORDS.get(name or "", part) for name, part in zip(named, drawn, strict=True)], np.int8)
