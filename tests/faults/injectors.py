"""Faults of real logs, put on purpose into sound ones: what a validation must find, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# A file of the input, and a row in it.
Place = tuple[str, int]
ITEMS = "items.parquet"


@dataclass
class Logs:
    """The tables of an input folder in memory.

    Attributes:
        tables: file -> rows; partitions of a day each.
        raw: file -> bytes to write instead of a table.
    """

    tables: dict[str, pa.Table]
    raw: dict[str, bytes] = field(default_factory=dict)

    def files(self, table: str) -> list[str]:
        """Files of a table, sorted."""
        return sorted(name for name in self.tables if name.split("/")[0].split(".")[0] == table)

    def copy(self) -> Logs:
        """A copy whose tables may be replaced."""
        return Logs(dict(self.tables), dict(self.raw))

    def without(self, places: set[Place]) -> Logs:
        """A copy without some rows."""
        rows: dict[str, list[int]] = {}
        for file, row in places:
            rows.setdefault(file, []).append(row)
        tables = dict(self.tables)
        for file, bad in rows.items():
            keep = np.ones(len(tables[file]), dtype=bool)
            keep[bad] = False
            tables[file] = tables[file].filter(pa.array(keep))
        return Logs(tables, dict(self.raw))

    def write(self, folder: Path) -> Path:
        """Writes the input folder; returns it."""
        for name, table in self.tables.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / name)
        for name, content in self.raw.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


Change = Callable[[Logs, np.random.Generator], set[Place]]


@dataclass(frozen=True)
class Fault:
    """A kind of bad input.

    Attributes:
        name: what went wrong, in the words of the person who is called at night.
        table: where.
        column: the column it hits, or "" for whole files.
        rule: the rule that must catch it.
        refused: whether the window is refused; otherwise the bad rows are set aside and the rest is kept.
        change: puts it into logs; returns the bad rows where they are set aside.
    """

    name: str
    table: str
    column: str
    rule: str
    refused: bool
    change: Change


def set_value(table: str, column: str, value: object, count: int = 5) -> Change:
    """Replaces a column's value in some rows of a file in the middle of the table."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        file = _middle(logs, table)
        rows = _draw(logs.tables[file], count, rng)
        logs.tables[file] = _with_values(logs.tables[file], column, rows, [value] * len(rows))
        return {(file, int(row)) for row in rows}

    return change


def set_value_everywhere(table: str, column: str, value: object, share: float) -> Change:
    """Replaces a column's value in a share of all rows."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        for file in logs.files(table):
            rows = np.flatnonzero(rng.random(len(logs.tables[file])) < share)
            logs.tables[file] = _with_values(logs.tables[file], column, rows, [value] * len(rows))
        return set()

    return change


def new_items(column: str, values: Callable[[np.ndarray], object], count: int = 8) -> Change:
    """Adds items that are sound but for one column.

    Args:
        column: the column.
        values: embedding of a sound item -> the bad value.
        count: how many.
    """

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        table = _with_free_lists(logs.tables[ITEMS])
        first = len(table)
        extra = table.slice(0, count)
        ids = pa.array([f"new-{number}" for number in range(count)], table.schema.field("item_id").type)
        extra = extra.set_column(extra.schema.get_field_index("item_id"), "item_id", ids)
        vectors = [np.array(vector, np.float32) for vector in extra["embedding"].to_pylist()]
        extra = _with_values(extra, column, np.arange(count), [values(vector) for vector in vectors])
        logs.tables[ITEMS] = pa.concat_tables([table, extra])
        return {(ITEMS, first + number) for number in range(count)}

    return change


def convert(table: str, column: str, kind: Callable[[pa.ChunkedArray], pa.Array], only_first: bool = False) -> Change:
    """Writes a column as another type, in all files or in the first."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        for file in logs.files(table)[: 1 if only_first else None]:
            old = logs.tables[file]
            place = old.schema.get_field_index(column)
            logs.tables[file] = old.set_column(place, column, kind(old[column]))
        return set()

    return change


def drop_column(table: str, column: str) -> Change:
    """Leaves a column out of the last file."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        file = logs.files(table)[-1]
        logs.tables[file] = logs.tables[file].drop([column])
        return set()

    return change


def rename_column(table: str, column: str, name: str) -> Change:
    """Gives a column another name, or a second one beside it with `+`."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        for file in logs.files(table):
            old = logs.tables[file]
            if name.startswith("+"):
                values = pa.array(np.arange(len(old)))
                logs.tables[file] = old.append_column(name[1:], values)
            else:
                logs.tables[file] = old.rename_columns([name if c == column else c for c in old.column_names])
        return set()

    return change


def change_files(table: str, change_file: Callable[[Logs, str, int], None]) -> Change:
    """Does something to every file of a table: `change_file(logs, file, number)`."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        for number, file in enumerate(logs.files(table)):
            change_file(logs, file, number)
        return set()

    return change


def deliver_again(share: float, new_file: bool) -> Change:
    """Delivers some interactions of a day twice, at the end of its file or in a second file."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        file = _middle(logs, "interactions")
        table = logs.tables[file]
        again = table.take(pa.array(_draw(table, max(2, round(share * len(table))), rng)))
        target = file.replace("part.parquet", "redelivery.parquet") if new_file else file
        first = 0 if new_file else len(table)
        logs.tables[target] = again if new_file else pa.concat_tables([table, again])
        return {(target, first + number) for number in range(len(again))}

    return change


def move_in_time(table: str, days: float, count: int = 5) -> Change:
    """Moves the time of some rows by days, which stay in their partition."""

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        file = _middle(logs, table)
        rows = _draw(logs.tables[file], count, rng)
        old = logs.tables[file]["timestamp"].to_pylist()
        values = [datetime.fromtimestamp(old[row].timestamp() + days * 86_400) for row in rows.tolist()]
        logs.tables[file] = _with_values(logs.tables[file], "timestamp", rows, values)
        return {(file, int(row)) for row in rows}

    return change


def change_requests(column: str, value: Callable[[dict[str, list], int], object], whole: bool = False) -> Change:
    """Changes one row in each of some requests, from the value of its neighbours.

    Args:
        column: the column.
        value: (columns of the file, row) -> the new value.
        whole: whether all other rows of the request are bad then, instead of this row; the row is removed.
    """

    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        file = _middle(logs, "retrieval_labels")
        table = logs.tables[file]
        columns = table.to_pydict()
        second = np.flatnonzero(np.array(columns["rank"]) == 3)[:2]  # noqa: PLR2004 - the third row of a request
        if not whole:
            values = [value(columns, int(row)) for row in second]
            logs.tables[file] = _with_values(table, column, second, values)
            return {(file, int(row)) for row in second}
        keep = np.ones(len(table), dtype=bool)
        keep[second] = False
        logs.tables[file] = table.filter(pa.array(keep))
        cut = {columns["request_id"][row] for row in second.tolist()}
        left = logs.tables[file]["request_id"].to_pylist()
        return {(file, row) for row, request in enumerate(left) if request in cut}

    return change


def _middle(logs: Logs, table: str) -> str:
    files = logs.files(table)
    return files[len(files) // 2]


def _draw(table: pa.Table, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(len(table), min(count, len(table)), replace=False))


def _with_values(table: pa.Table, column: str, rows: np.ndarray, values: list) -> pa.Table:
    old = table[column]
    content = old.to_pylist()
    for row, value in zip(rows.tolist(), values, strict=True):
        content[row] = value
    return table.set_column(table.schema.get_field_index(column), column, pa.array(content, old.type))


def _with_free_lists(table: pa.Table) -> pa.Table:
    lists = table["embedding"].combine_chunks().cast(pa.list_(pa.float32()))
    return table.set_column(table.schema.get_field_index("embedding"), "embedding", lists)


def shifted(hours: int) -> Callable[[pa.ChunkedArray], pa.Array]:
    """A timestamp column some hours later."""
    return lambda column: pc.add(column, pa.scalar(hours * 3_600_000_000, pa.duration("us"))).combine_chunks()
