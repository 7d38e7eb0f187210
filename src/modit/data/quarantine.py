"""Rows that break a rule: written aside with the rule that caught them, counted, never dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.data.facts import Fact
from modit.data.problems import ProblemLog

# Rows are written in groups of at least this size: rules catch a few here and a few there.
_GROUP_ROWS = 1 << 16
COLUMNS = {
    "items": ("item_id", "value"),
    "retrieval_labels": ("request_id", "timestamp", "domain", "anchor_item_id", "rank", "item_id", "label"),
}


def quarantine_schema(columns: Sequence[str]) -> pa.Schema:
    """The columns of a quarantine: file, row in it, the row's values as text (or null), and the rule."""
    values = [(name, pa.string()) for name in columns]
    return pa.schema([("file", pa.string()), ("row", pa.int64()), *values, ("rule", pa.string())])


class Quarantine:
    """Writes refused rows of a table to `TABLE.parquet` in a folder; a context manager.

    The file is complete when the context ends. A process that dies before leaves one without a footer, which nobody
    can take for a quarantine; the step starts it again.

    Args:
        folder: where the file goes; it exists.
        table: the table.
        columns: its columns to keep.

    Attributes:
        counts: rule -> rows written.
    """

    def __init__(self, folder: Path, table: str, columns: Sequence[str]) -> None:
        self.counts: dict[str, int] = {}
        self._broken: dict[str, int] = {}
        self._table, self._columns = table, columns
        self._schema = quarantine_schema(columns)
        self._log = ProblemLog()
        self._waiting: list[pa.Table] = []
        self._rows_waiting = 0
        self._writer = pq.ParquetWriter(folder / f"{table}.parquet", self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        self._writer.close()

    @property
    def total(self) -> int:
        """Rows set aside so far."""
        return sum(self.counts.values())

    def add(
        self,
        rule: str,
        file: str,
        rows: np.ndarray,
        values: Mapping[str, pa.Array],
        column: str,
        examples: Sequence[str] | None = None,
        fresh: np.ndarray | None = None,
    ) -> None:
        """Sets rows of a file aside.

        Args:
            rule: the rule that caught them, a key of `RULES`.
            file: name of the file.
            rows: int64 [n], row numbers in it, from 0.
            values: column -> [n] values of these rows.
            column: the column to name in messages.
            examples: what to show of the first rows; their values if None.
            fresh: bool [n], rows that no other rule has caught before: only these are written, all are counted as
                breaches; None for all.
        """
        if len(rows) == 0:
            return
        texts = {name: values[name].cast(pa.string()) for name in self._columns}
        columns = {"file": pa.repeat(file, len(rows)), "row": pa.array(rows, pa.int64()), **texts}
        columns["rule"] = pa.repeat(rule, len(rows))
        table = pa.table(columns, schema=self._schema)
        table = table if fresh is None else table.filter(pa.array(fresh))
        self._waiting.append(table)
        self._rows_waiting += len(table)
        if self._rows_waiting >= _GROUP_ROWS:
            self._write()
        self._broken[rule] = self._broken.get(rule, 0) + len(rows)
        if len(table):
            self.counts[rule] = self.counts.get(rule, 0) + len(table)
        if examples is None:
            shown = range(min(3, len(rows)))
            examples = [", ".join(f"{name} {texts[name][i].as_py()!r}" for name in texts) for i in shown]
        self._log.add_rows(rule, file, column, rows, examples)

    def facts(self, allowed: Mapping[str, float], rows: int) -> list[Fact]:
        """The share of rows that break each rule.

        Args:
            allowed: rule -> largest share of rows in [0, 1] that it may catch.
            rows: number of rows looked at.
        """
        return [
            Fact(
                table=self._table,
                rule=rule,
                value=self._broken.get(rule, 0) / rows if rows else 0.0,
                low=0.0,
                high=share,
                rows=self._broken.get(rule, 0),
                total=rows,
                details=tuple(str(problem) for problem in self._log.of_rule(rule)),
            )
            for rule, share in allowed.items()
        ]

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting.clear()
            self._rows_waiting = 0
