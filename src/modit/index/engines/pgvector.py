"""PostgreSQL with the extension pgvector 0.8 or newer: a collection is a table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from modit.index.engines.collection import Batch, EngineAddress, EngineDownError, EngineError, Hits, first_line

T = TypeVar("T")
# Operator class of an index, without its type -> operator, and the inner product of unit vectors by the distance.
_METRICS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "cosine_ops": ("<=>", lambda distance: 1 - distance),
    "ip_ops": ("<#>", lambda distance: -distance),
    "l2_ops": ("<->", lambda distance: 1 - distance**2 / 2),
}
_TIMEOUTS: dict[str, Any] = {"connect_timeout": 3, "tcp_user_timeout": 10_000}  # seconds, and milliseconds
_TYPES = """
SELECT attname, format_type(atttypid, NULL), atttypmod FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attname = ANY(%s)
"""
_OPERATOR_CLASS = """
SELECT opcname FROM pg_index JOIN pg_attribute ON attrelid = indexrelid JOIN pg_opclass ON pg_opclass.oid = indclass[0]
JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = to_regclass(%s) AND amname IN ('hnsw', 'ivfflat') AND attname = %s AND indisvalid LIMIT 1
"""


class _Layout(NamedTuple):
    """Types of the two columns, width of the vectors, and how they are compared."""

    id_type: str
    vector_type: str
    dimension: int
    indexed: bool
    operator: str
    score: Callable[[np.ndarray], np.ndarray]


class PgvectorCollection:
    """A table with a column of ids, unique, and one of vectors; each thread that searches has a connection of its own.

    Ids of any type are given and taken as text. Vectors of a live table may have any length: they are compared as its
    approximate index does, and by cosine where it has none.

    Attributes:
        address: `effort` is pgvector's `hnsw.ef_search`, and `ivfflat.probes`.
    """

    def __init__(self, address: EngineAddress) -> None:
        """Connects at the first question."""
        self.address = address
        self._local = threading.local()
        schema_and_name = address.collection.split(".")
        self._table = sql.Identifier(*schema_and_name)
        self._id, self._vector = sql.Identifier(address.id), sql.Identifier(address.vector)
        self._quoted = ".".join(f'"{each}"' for each in schema_and_name)

    def count(self) -> int | None:
        """Number of rows of the table; None where it is missing."""

        def ask(connection: psycopg.Connection) -> int | None:
            if connection.execute("SELECT to_regclass(%s)", [self._quoted]).fetchone() == (None,):
                return None
            (rows,) = connection.execute(self._sql("SELECT count(*) FROM {table}")).fetchone() or (0,)
            return rows

        return self._ask(ask)

    def dimension(self) -> int:
        """Width of the vectors."""
        return self._layout.dimension

    def upsert(self, batches: Iterable[Batch]) -> None:
        """Writes in one transaction, through a temporary table."""

        def write(connection: psycopg.Connection) -> None:
            incoming = iter(batches)
            if (first := next(incoming, None)) is None:
                return
            with connection.transaction():
                connection.execute(self._create(first.vectors.shape[1]))
                connection.execute("CREATE TEMP TABLE incoming (id text, vector vector) ON COMMIT DROP")
                with connection.cursor().copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["text", "vector"])
                    for item_ids, vectors in chain([first], incoming):
                        for item_id, vector in zip(item_ids.tolist(), vectors, strict=True):
                            copy.write_row((item_id, Vector(vector)))
                statement = "INSERT INTO {table} ({id}, {vector}) SELECT id::{type}, vector FROM incoming "
                statement += "ON CONFLICT ({id}) DO UPDATE SET {vector} = excluded.{vector}"
                id_type = self._read_layout(connection).id_type
                connection.execute(self._sql(statement, type=sql.SQL(id_type)))
            connection.execute(self._sql("ANALYZE {table}"))

        self._ask(write)
        self.__dict__.pop("_layout", None)

    def accelerate(self) -> None:
        """Builds an HNSW index for cosine, with the server's `maintenance_work_mem`."""
        statement = "CREATE INDEX ON {table} USING hnsw ({vector} {operators})"
        operators = sql.SQL(f"{self._layout.vector_type}_cosine_ops")
        self._ask(lambda connection: connection.execute(self._sql(statement, operators=operators)))
        self.__dict__.pop("_layout", None)

    def search(self, queries: np.ndarray, k: int, only: Sequence[str] | None = None, exact: bool = False) -> list[Hits]:
        """Asks one statement for each query, all in one round trip."""
        layout = self._layout
        exact = exact or not layout.indexed
        lists = self._ask(lambda connection: self._search(connection, queries, k, only, exact))
        found = [Hits([item_id for item_id, _ in rows], self._scores(rows)) for rows in lists]
        short = [number for number, hits in enumerate(found) if len(hits.item_ids) < k]
        if short and not exact and only is None:  # pgvector stops after `hnsw.max_scan_tuples`
            for number, hits in zip(short, self.search(queries[short], k, exact=True), strict=True):
                found[number] = hits
        return found

    def vectors(self, item_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Reads them by id."""
        statement = self._sql(
            "SELECT {id}::text, {vector}::vector FROM {table} WHERE {id} = ANY(%s::{type}[])",
            type=sql.SQL(self._layout.id_type),
        )
        rows = self._ask(lambda connection: connection.execute(statement, [list(item_ids)]).fetchall())
        return {item_id: _array(vector) for item_id, vector in rows}

    def drop(self) -> None:
        """Drops the table."""
        self._ask(lambda connection: connection.execute(self._sql("DROP TABLE IF EXISTS {table}")))
        self.__dict__.pop("_layout", None)

    @cached_property
    def _layout(self) -> _Layout:
        return self._ask(self._read_layout)

    def _read_layout(self, connection: psycopg.Connection) -> _Layout:
        address, wanted = self.address, [self.address.id, self.address.vector]
        columns = {name: rest for name, *rest in connection.execute(_TYPES, [self._quoted, wanted])}
        if missing := [name for name in wanted if name not in columns]:
            raise EngineError(f"{address}: there is no such table, or it has no column {', '.join(missing)}")
        (id_type, _), (vector_type, dimension) = columns[address.id], columns[address.vector]
        vector_type = vector_type.rpartition(".")[2]
        if vector_type not in ("vector", "halfvec") or dimension < 1:
            allowed = "vector(d) or halfvec(d), with their width"
            raise EngineError(f"{address}: column {address.vector} is {vector_type}; allowed: {allowed}")
        indexed = connection.execute(_OPERATOR_CLASS, [self._quoted, address.vector]).fetchone()
        operators = indexed[0] if indexed else f"{vector_type}_cosine_ops"
        metric = operators.removeprefix(f"{vector_type}_")
        if metric not in _METRICS:
            allowed = ", ".join(f"{vector_type}_{name}" for name in _METRICS)
            raise EngineError(f"{address}: its index has operator class {operators}; allowed: {allowed}")
        return _Layout(id_type, vector_type, dimension, indexed is not None, *_METRICS[metric])

    def _create(self, dimension: int) -> sql.Composed:
        columns = f"({{id}} text PRIMARY KEY, {{vector}} vector({dimension}) NOT NULL)"
        return self._sql(f"CREATE TABLE IF NOT EXISTS {{table}} {columns}")

    def _search(
        self, connection: psycopg.Connection, queries: np.ndarray, k: int, only: Sequence[str] | None, exact: bool
    ) -> list[list[tuple[str, float]]]:
        layout = self._layout
        source, chosen = "{table}", []
        if only is not None:
            source = "(SELECT {id}, {vector} FROM {table} WHERE {id} = ANY(%s::{type}[]) OFFSET 0) AS chosen"
            chosen = [list(only)]
        # An order by a sum is one that no approximate index serves. The limit is written out for the planner to see.
        distance = f"({{vector}} {layout.operator} %s::{layout.vector_type}){' + 0' if exact else ''}"
        statement = self._sql(
            f"SELECT {{id}}::text, {distance} AS distance FROM {source} ORDER BY distance LIMIT {k}",
            type=sql.SQL(layout.id_type),
        )
        given = [Vector(query) for query in queries]
        if len(given) == 1:
            return [connection.execute(statement, [given[0], *chosen], binary=True).fetchall()]
        with connection.pipeline():
            cursors = [connection.execute(statement, [each, *chosen], binary=True) for each in given]
            return [cursor.fetchall() for cursor in cursors]

    def _scores(self, rows: Sequence[tuple[str, float]]) -> np.ndarray:
        return self._layout.score(np.array([distance for _, distance in rows])).astype(np.float32)

    def _sql(self, statement: str, **names: sql.Composable) -> sql.Composed:
        return sql.SQL(statement).format(table=self._table, id=self._id, vector=self._vector, **names)

    def _ask(self, question: Callable[[psycopg.Connection], T]) -> T:
        """Asks on the thread's connection; once more on a new one where the server has closed it."""
        known = getattr(self._local, "connection", None)
        with self._refusals():
            if known is not None:
                try:
                    return question(known)
                except psycopg.OperationalError:
                    if not known.broken and not known.closed:
                        raise
            self._local.connection = connection = self._connect()
            return question(connection)

    def _connect(self) -> psycopg.Connection:
        connection = psycopg.connect(self.address.place, autocommit=True, **_TIMEOUTS)
        try:
            register_vector(connection)
        except psycopg.ProgrammingError:  # the database does not have it yet
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
        settings = {"hnsw.ef_search": self.address.effort, "ivfflat.probes": self.address.effort}
        for name, value in (settings | {"hnsw.iterative_scan": "strict_order", "jit": "off"}).items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
        return connection

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as error:
            raise EngineDownError(f"{self.address} does not answer: {first_line(error)}") from error
        except psycopg.Error as error:
            raise EngineError(f"{self.address}: {first_line(error)}") from error


def _array(vector: Vector | np.ndarray) -> np.ndarray:
    return np.asarray(vector.to_numpy() if isinstance(vector, Vector) else vector, np.float32)
