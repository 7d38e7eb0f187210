"""Interactions that break a rule: written aside with the rule that caught them, counted, refused when too many."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ContractError
from modit.data.problems import ProblemLog

FILE_NAME = "interactions.parquet"


def quarantine_schema(order: str) -> pa.Schema:
    """The columns of the quarantine: file, row in it, the three values as text (or null), and the rule."""
    values = [(name, pa.string()) for name in ("sequence_id", "item_id", order)]
    return pa.schema([("file", pa.string()), ("row", pa.int64()), *values, ("rule", pa.string())])


class Quarantine:
    """Writes refused interactions to `interactions.parquet` in a folder; a context manager.

    Args:
        folder: where the file goes; it exists.
        order: `timestamp` or `position`.
    """

    def __init__(self, folder: Path, order: str) -> None:
        self.counts: dict[str, int] = {}
        self._order = order
        self._schema = quarantine_schema(order)
        self._log = ProblemLog()
        self._writer = pq.ParquetWriter(folder / FILE_NAME, self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, rule: str, file: str, rows: np.ndarray, values: Mapping[str, pa.Array], column: str) -> None:
        """Sets rows of a file aside.

        Args:
            rule: the rule that caught them, a key of `RULES`.
            file: name of the file.
            rows: int64 [n], row numbers in it, from 0.
            values: column -> [n] values of these rows: `sequence_id`, `item_id` and the order column.
            column: the column to name in messages.
        """
        if len(rows) == 0:
            return
        texts = {name: values[name].cast(pa.string()) for name in ("sequence_id", "item_id", self._order)}
        columns = {"file": pa.repeat(file, len(rows)), "row": pa.array(rows, pa.int64()), **texts}
        columns["rule"] = pa.repeat(rule, len(rows))
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self.counts[rule] = self.counts.get(rule, 0) + len(rows)
        examples = [", ".join(f"{name} {texts[name][i].as_py()!r}" for name in texts) for i in range(min(3, len(rows)))]
        self._log.add_rows(rule, file, column, rows, examples)

    def refuse_beyond(self, allowed: Mapping[str, float], rows: int) -> None:
        """Refuses the input when a rule caught too many rows.

        Args:
            allowed: rule -> largest share of rows in [0, 1] that it may catch.
            rows: number of rows read.

        Raises:
            ContractError: a share is above what is allowed.
        """
        lines = []
        for rule, count in self.counts.items():
            if count > allowed[rule] * rows:
                lines.append(f"- {count} of {rows} rows ({count / rows:.2%}), allowed {allowed[rule]:.2%}:")
                lines.extend(f"  {problem}" for problem in self._log.of_rule(rule)[:3])
        if lines:
            raise ContractError("too many interactions break the contract (rows count from 0):\n" + "\n".join(lines))
