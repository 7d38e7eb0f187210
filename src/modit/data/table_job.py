"""Reading a dated table, interactions or retrieval labels: its files, its rows in the window, its quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modit.data.engine import Engine
from modit.data.files import TableFile, count_rows, find_files
from modit.data.mapping import Mapping, TableLayout, understand
from modit.data.params import ValidationParams
from modit.data.quarantine import Quarantine, SetAside
from modit.data.rules import RowCheck
from modit.data.window import TimeRules


@dataclass(frozen=True)
class TableJob:
    """How to read a dated table.

    Attributes:
        source: the input folder.
        engine: its table `items` has the ids of the catalogue.
        quarantine: folder for the rows that break a rule.
        times: the part of time to read, and what a row's time must look like.
        params: section `validate_logs`: how much quarantine is too much.
        mapping: the mapping file.
        rows_max: most rows to read; None for all.
    """

    source: Path
    engine: Engine
    quarantine: Path
    times: TimeRules
    params: ValidationParams
    mapping: Mapping
    rows_max: int | None = None

    def understand(self, table: str) -> TableLayout:
        """Finds the files and columns of a table.

        Raises:
            ContractError: the columns are not those of the contract.
        """
        return understand(table, find_files(self.source, table, self.engine), self.mapping, self.engine)

    def files(self, layout: TableLayout) -> list[TableFile]:
        """The files that may hold rows of the window."""
        return [file for file in layout.files if self.times.window.holds_file(file)]

    def scan(self, layout: TableLayout, files: list[TableFile]) -> str:
        """SQL that yields the rows of the window, with `day` and `has_unknown_day` of their partition."""
        rows = layout.scan(files or layout.files[:1], range(len(files) or 1))
        limit = self.rows_max if files else 0
        rows += f" LIMIT {limit}" if limit is not None else ""
        inside = self.times.inside() if "timestamp" in layout.columns else "true"
        return f"FROM ({rows}) {self.times.join(files)} WHERE {inside}"

    def stage(self, layout: TableLayout, files: list[TableFile], statement: str) -> None:
        """Runs a statement that reads the files.

        Raises:
            ContractError: a file cannot be decoded.
        """
        try:
            self.engine.run(statement)
        except self.engine.Error as error:
            raise layout.undecodable(files, error) from error

    def count(self, files: list[TableFile]) -> int:
        """How many rows the files have, at most `rows_max`."""
        rows = count_rows(files, self.engine)
        return rows if self.rows_max is None else min(rows, self.rows_max)

    def set_aside(
        self, layout: TableLayout, files: list[TableFile], checks: list[RowCheck], refused: str, total: int
    ) -> SetAside:
        """Writes the quarantine of a table.

        Args:
            layout: the table.
            files: that were read.
            checks: that rows were held against.
            refused: the engine's table of rows to set aside; see `Quarantine`.
            total: rows of the window.
        """
        quarantine = Quarantine(self.engine, layout.table, [file.name for file in files], checks)
        quarantine.set_aside(refused, tuple(layout.columns), self.quarantine)
        return quarantine.summary(refused, tuple(layout.columns), total, self.params)
