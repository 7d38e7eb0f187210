"""One input table while it is read: its files, columns, rows of the window, and the rows that are set aside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modit.data.contract import identifier, literal, quoted
from modit.data.engine import Engine
from modit.data.files import ROW_BITS, count_rows, find_files, has_table
from modit.data.mapping import Mapping, understand
from modit.data.measurements import Measurement, contract_measurements, measured
from modit.data.params import ValidationParams
from modit.data.problems import EXAMPLES_SHOWN, Problem
from modit.data.rules import RowCheck
from modit.data.window import Window

_BATCH_ROWS = 1 << 16
_ROW = f"pos & {(1 << ROW_BITS) - 1}"


@dataclass(frozen=True)
class Ingest:
    """How the tables of an input folder are read.

    Attributes:
        source: the input folder.
        engine: reads the files; once the items are read, its table `items` has `item_id` and `item`, their row.
        quarantine: folder for the rows that break a rule.
        window: the part of time to read of the dated tables.
        params: section `validate_logs`.
        mapping: the mapping file.
        rows_max: most rows of a dated table to read; None for all.
        needs_domains: whether the catalogue must have verdicts and embeddings, as pipelines with domains need them.
    """

    source: Path
    engine: Engine
    quarantine: Path
    window: Window
    params: ValidationParams
    mapping: Mapping
    rows_max: int | None = None
    needs_domains: bool = True

    def file_of(self, table: str) -> str | None:
        """The name of a table's file or folder without its ending; None where the input has no such table.

        Where no domains are needed, `sequences` is read as `interactions`, which public data sets call so.
        """
        names = [table, *(["sequences"] if table == "interactions" and not self.needs_domains else [])]
        return next((name for name in names if has_table(self.source, name)), None)


@dataclass
class RowCounts:
    """What happened to the rows of a table: `rows` = `outside_window` + quarantined + `kept`."""

    rows: int = 0
    outside_window: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    kept: int = 0


class Table:
    """A table of the input.

    Args:
        name: `items`, `interactions` or `retrieval_labels`.
        ingest: how it is read.

    Raises:
        ContractError: the files or columns are not those of the contract.

    Attributes:
        layout: its files and columns as they were understood.
        files: the files that may hold rows of the window.
    """

    def __init__(self, name: str, ingest: Ingest) -> None:
        self._name, self._ingest, self._engine = name, ingest, ingest.engine
        files = find_files(ingest.source, ingest.file_of(name) or name, self._engine)
        self.layout = understand(name, files, ingest.mapping, self._engine, ingest.needs_domains)
        self.files = [file for file in self.layout.files if ingest.window.holds_file(file)]

    def rows(self) -> str:
        """SQL that yields all rows."""
        return self.layout.scan(self.files)

    def rows_in_window(self, join: str = "") -> str:
        """SQL, from `FROM` on, of the rows of the window, with `day` and `has_unknown_day` of their partition."""
        files, window = self.files, self._ingest.window
        limit = self._ingest.rows_max if files else 0
        scan = self.layout.scan(files or self.layout.files[:1])
        scan += f" LIMIT {limit}" if limit is not None else ""
        inside = window.inside() if "timestamp" in self.layout.columns else "true"
        return f"FROM ({scan}) {window.join(files)} {join} WHERE {inside}"

    def count(self) -> int:
        """How many rows the files have, or `rows_max` if that is fewer."""
        rows = count_rows(self.files, self._engine)
        return rows if self._ingest.rows_max is None else min(rows, self._ingest.rows_max)

    def decoding(self) -> AbstractContextManager[None]:
        """A block that reads the files; an error of the engine becomes a `ContractError` where a file is at fault."""
        return self.layout.decoding(self.files, self._engine)

    def set_aside(
        self, refused: str, columns: Sequence[str], checks: Sequence[RowCheck], total: int, shown: str = ""
    ) -> tuple[dict[str, int], list[Measurement]]:
        """Writes the rows that break a check to `TABLE.parquet` in the quarantine.

        Args:
            refused: the engine's table with `pos`, `broken` (the number of a check) and the columns; a row that breaks
                several checks is in it several times, and set aside under the first of them.
            columns: the row's values, as text.
            checks: those that rows were held against.
            total: rows that were looked at.
            shown: SQL of what messages show of a row; all columns if "".

        Returns:
            Rule -> rows set aside under it; and for each rule on files none, on rows the share of rows that break it.
        """
        rules = f"[{', '.join(literal(check.rule) for check in checks)}]"
        self._engine.run(
            f"CREATE OR REPLACE TABLE set_aside AS SELECT *, {rules}[broken + 1] AS rule, "
            f"row_number() OVER (PARTITION BY pos ORDER BY broken) = 1 AS is_first FROM {refused}"
        )
        self._write_quarantine(columns)
        counts = "SELECT rule, count(*) FROM set_aside WHERE is_first GROUP BY rule ORDER BY min(broken)"
        shown = shown or " || ', ' || ".join(f"'{name} ' || {quoted(name)}" for name in columns)
        return dict(self._engine.rows(counts)), contract_measurements(self._name) + self._measure(checks, total, shown)

    def _write_quarantine(self, columns: Sequence[str]) -> None:
        files = f"[{', '.join(literal(file.name) for file in self.files)}]"
        query = f"SELECT {files}[(pos >> {ROW_BITS}) + 1] AS file, {_ROW} AS row, {', '.join(map(identifier, columns))}"
        query += ", rule FROM set_aside WHERE is_first ORDER BY pos"
        values = [(name, pa.string()) for name in columns]
        schema = pa.schema([("file", pa.string()), ("row", pa.int64()), *values, ("rule", pa.string())])
        with pq.ParquetWriter(self._ingest.quarantine / f"{self._name}.parquet", schema) as writer:
            for batch in self._engine.batches(query, _BATCH_ROWS):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))

    def _measure(self, checks: Sequence[RowCheck], total: int, shown: str) -> list[Measurement]:
        """One for each rule, with a line for each check and file, which has the first few rows as examples."""
        rows = dict(self._engine.rows("SELECT rule, count(DISTINCT pos) FROM set_aside GROUP BY rule"))
        details: dict[str, list[str]] = {check.rule: [] for check in checks}
        example = f"'row ' || ({_ROW}) || ': ' || {shown}"
        query = f"SELECT broken, pos >> {ROW_BITS} AS part, count(*), min_by({example}, pos, {EXAMPLES_SHOWN}) "
        query += "FROM set_aside GROUP BY ALL ORDER BY ALL"
        for broken, part, count, examples in self._engine.rows(query):
            check = checks[broken]
            problem = Problem(check.rule, self.files[part].name, check.column or None, count, examples)
            details[check.rule].append(str(problem))
        found = ((rule, rows.get(rule, 0), lines) for rule, lines in details.items())
        return [
            measured(self._name, rule, count / total if total else 0.0, self._ingest.params, count, total, lines)
            for rule, count, lines in found
        ]
