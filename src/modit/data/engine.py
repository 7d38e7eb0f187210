"""DuckDB as the ingest uses it: one database on disk for a run of the step, bounded in memory, offline."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa

from modit.core.machine import usable_cores

# Share of the step's memory that the engine may use; arrays, Python and the catalogue need the rest.
_MEMORY_SHARE = 0.25
BATCH_ROWS = 1 << 20


class Engine:
    """A DuckDB database in a folder of its own; a context manager that removes the folder.

    The same input gives the same rows in the same order, whatever the number of threads: results keep the order of the
    files, and every sort has a key that is unique.

    Args:
        scratch: an existing folder on a disk with enough room: some 30 bytes for each row of interactions.
        memory_gb: memory of the step in GiB; beyond a quarter of it the engine spills to `scratch`.

    Attributes:
        folder: the database's own folder.
    """

    Error = duckdb.Error

    def __init__(self, scratch: Path, memory_gb: float = 4.0) -> None:
        for left in scratch.glob("duckdb-*"):  # of an attempt that was killed
            shutil.rmtree(left, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix="duckdb-", dir=scratch))
        settings: dict[str, Any] = {
            "memory_limit": f"{max(0.25, memory_gb * _MEMORY_SHARE):.2f}GiB",
            "temp_directory": str(self.folder / "spill"),
            "threads": usable_cores(),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self._connection = duckdb.connect(str(self.folder / "ingest.duckdb"), config=settings)
        self._connection.execute("SET TimeZone = 'UTC'")
        # In Jupyter it may be on, and without ipywidgets, where it is off, DuckDB refuses to be told so.
        if self._connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()[0][0]:
            self._connection.execute("SET enable_progress_bar = false")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, statement: str) -> None:
        """Runs a statement that returns nothing."""
        self._connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        return self._connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        """The one value of a result."""
        return self.rows(query)[0][0]

    def arrays(self, query: str) -> dict[str, np.ndarray]:
        """All columns of a result without nulls, column -> [n]."""
        return {name: np.asarray(column) for name, column in self._connection.execute(query).fetchnumpy().items()}

    def batches(self, query: str, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of a result, in batches of at most `rows`; a million if None."""
        yield from self._connection.sql(query).to_arrow_reader(rows or BATCH_ROWS)

    def table(self, query: str) -> pa.Table:
        """All rows of a result."""
        return self._connection.sql(query).to_arrow_reader(BATCH_ROWS).read_all()

    def save(self, name: str, table: pa.Table) -> None:
        """Makes a table of the database from an Arrow table."""
        self._connection.register("_arriving", table)
        self._connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM _arriving')
        self._connection.unregister("_arriving")
