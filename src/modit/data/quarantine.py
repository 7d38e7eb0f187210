"""Rows that break a rule: written aside with the rule that caught them, counted, never dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modit.data.contract import identifier, literal
from modit.data.engine import Engine
from modit.data.files import ROW_BITS
from modit.data.measurements import Measurement, measured
from modit.data.params import ValidationParams
from modit.data.problems import EXAMPLES_SHOWN, ProblemLog
from modit.data.rules import RowCheck

_BATCH_ROWS = 1 << 16
_ROW = f"pos & {(1 << ROW_BITS) - 1}"


@dataclass(frozen=True)
class SetAside:
    """Rows of a table that were set aside.

    Attributes:
        counts: rule -> rows written, each under the first rule that caught it.
        measurements: the share of rows that each rule caught.
    """

    counts: dict[str, int]
    measurements: list[Measurement]


def quarantine_schema(columns: Sequence[str]) -> pa.Schema:
    """The columns of a quarantine: file, row in it, the row's values as text (or null), and the rule."""
    values = [(name, pa.string()) for name in columns]
    return pa.schema([("file", pa.string()), ("row", pa.int64()), *values, ("rule", pa.string())])


class Quarantine:
    """Sets rows of a table aside.

    Args:
        engine: holds the rows.
        table: its name.
        files: the names of its files; a row's position begins with the number of its file.
        checks: a row names the check that it breaks by its number among these.
    """

    def __init__(self, engine: Engine, table: str, files: Sequence[str], checks: Sequence[RowCheck]) -> None:
        self._engine, self._table, self._files, self._checks = engine, table, files, checks

    def set_aside(self, refused: str, columns: Sequence[str], folder: Path) -> None:
        """Writes rows to `TABLE.parquet` in a folder, in the order of the input.

        Args:
            refused: name of an engine's table with `pos`, `broken` (the number of a check) and values as text.
            columns: the values.
            folder: an existing folder.
        """
        values = ", ".join(map(identifier, columns))
        query = f"SELECT {_list(self._files)}[(pos >> {ROW_BITS}) + 1] AS file, {_ROW} AS row, {values}, "
        query += f"{_list([check.rule for check in self._checks])}[broken + 1] AS rule FROM {refused} ORDER BY pos"
        schema = quarantine_schema(columns)
        with pq.ParquetWriter(folder / f"{self._table}.parquet", schema) as writer:
            for batch in self._engine.batches(query, _BATCH_ROWS):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))

    def summary(self, refused: str, columns: Sequence[str], total: int, params: ValidationParams) -> SetAside:
        """Counts the rows, and keeps the first few of each file, rule and column as examples.

        Args:
            refused: as in `set_aside`.
            columns: the values to show.
            total: rows that were looked at.
            params: section `validate_logs`: how many rows a rule may catch.
        """
        log = ProblemLog()
        example = ", ".join(["'row': " + _ROW, *(f"{literal(name)}: {identifier(name)}" for name in columns)])
        query = f"SELECT broken, pos >> {ROW_BITS} AS part, count(*), min_by({{{example}}}, pos, {EXAMPLES_SHOWN}) "
        query += f"FROM {refused} GROUP BY ALL ORDER BY ALL"
        for broken, part, count, examples in self._engine.rows(query):
            check = self._checks[broken]
            log.add_rows(
                check.rule, self._files[part], check.column or None, count, [_example(each) for each in examples]
            )
        return summarise(self._table, log, [check.rule for check in self._checks], total, params)


def summarise(
    table: str,
    log: ProblemLog,
    rules: Sequence[str],
    total: int,
    params: ValidationParams,
    broken: Mapping[str, int] | None = None,
) -> SetAside:
    """The share of rows that each rule caught.

    Args:
        table: the table.
        log: what was found.
        rules: those that rows were held against.
        total: rows that were looked at.
        params: section `validate_logs`.
        broken: rule -> rows that break it, where a row can break it in several columns; those of the log if None.
    """
    measurements = []
    for rule in dict.fromkeys(rules):
        problems = log.of_rule(rule)
        rows = sum(problem.count for problem in problems) if broken is None else broken.get(rule, 0)
        details = [str(problem) for problem in problems]
        measurements.append(measured(table, rule, rows / total if total else 0.0, params, rows, total, details))
    return SetAside({each.rule: each.rows for each in measurements if each.rows}, measurements)


def _example(row: dict[str, object]) -> str:
    return f"row {row.pop('row')}: " + ", ".join(f"{name} {value!r}" for name, value in row.items())


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(literal, texts))}]"
