"""The files of an input table: where they lie, in which format, with which columns; and the SQL that reads them."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ContractError
from modit.core.window import names_partition, partition_day
from modit.data.contract import literal
from modit.data.engine import Engine
from modit.data.problems import ProblemLog, breach
from modit.data.rules import RULES

PARQUET, CSV, JSON = "Parquet", "CSV", "JSON"
FORMATS = {
    ".parquet": PARQUET,
    ".csv": CSV,
    ".tsv": CSV,
    ".csv.gz": CSV,
    ".tsv.gz": CSV,
    ".jsonl": JSON,
    ".ndjson": JSON,
    ".json": JSON,
    ".jsonl.gz": JSON,
    ".ndjson.gz": JSON,
    ".json.gz": JSON,
}
# A row's position: the number of its file, then 40 bits for its number in the file. Positions sort as the input does.
ROW_BITS = 40
_DELIMITERS = ",;\t|"
_JSON_SAMPLE = 100_000


@dataclass(frozen=True)
class TableFile:
    """One file of a table.

    Attributes:
        path: where it lies.
        name: its path relative to the input folder; error messages use it.
        format: `PARQUET`, `CSV` or `JSON`.
        columns: column -> Arrow type; text in CSV and JSON files, whose values have no type of their own.
        rows: number of rows from the footer of a Parquet file; None in the other formats.
        delimiter: of a CSV file.
    """

    path: Path
    name: str
    format: str
    columns: dict[str, pa.DataType]
    rows: int | None = None
    delimiter: str = field(default=",", compare=False)

    @property
    def is_text(self) -> bool:
        """Whether the format has no types, so that values are parsed from text."""
        return self.format != PARQUET

    @property
    def day(self) -> date | None:
        """The day of its folder `date=YYYY-MM-DD`, or None where it lies in none."""
        return partition_day(self.name)

    @property
    def has_unknown_day(self) -> bool:
        """Whether it lies in a folder `date=...` that names no day, such as `date=__HIVE_DEFAULT_PARTITION__`."""
        return names_partition(self.name) and self.day is None


def has_table(source: Path, table: str) -> bool:
    """Whether the input folder has a file or a folder of this table."""
    return (source / table).is_dir() or any((source / f"{table}{suffix}").exists() for suffix in FORMATS)


def find_files(source: Path, table: str, engine: Engine) -> list[TableFile]:
    """Finds the files of a table, sorted by name, so that row order does not depend on the file system.

    Args:
        source: the input folder.
        table: `items`, `interactions` or `retrieval_labels`. Its rows lie in one file such as `items.parquet`, or in
            any depth under the folder `items/` or `items.parquet/`; names that start with `.` or `_` are ignored.
        engine: reads the columns of JSON files.

    Raises:
        ContractError: there is no such file, there are several, the folder is empty, or a file cannot be read.
    """
    roots = [source / f"{table}{suffix}" for suffix in FORMATS if (source / f"{table}{suffix}").exists()]
    roots += [source / table] if (source / table).is_dir() else []
    if len(roots) != 1:
        names = " and ".join(root.name + ("/" if root.is_dir() else "") for root in roots)
        state = (
            f"both exist: {names}"
            if roots
            else f"neither exists: {source / table}.parquet (or .csv, .jsonl) or {table}/"
        )
        raise breach("file_present", f"{table}.parquet", detail=state)
    paths = _data_files(roots[0]) if roots[0].is_dir() else roots
    if not paths:
        raise breach("file_present", roots[0].name, detail=f"no *.parquet, *.csv or *.jsonl under {roots[0]}")
    problems = ProblemLog()
    files = [file for path in paths if (file := _open(path, source, engine, problems)) is not None]
    problems.raise_if_any()
    return files


def open_file(path: Path, engine: Engine) -> TableFile:
    """Opens a file that is a table by itself, whatever its name; its format shows in how the name ends.

    Raises:
        ContractError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise breach("file_present", path.name, detail=f"missing: {path}")
    problems = ProblemLog()
    file = _open(path, path.parent, engine, problems)
    problems.raise_if_any()
    return cast("TableFile", file)


def scan(files: Sequence[TableFile], columns: Sequence[Sequence[str]]) -> str:
    """SQL that yields the rows of files in their order, with `pos`, their position in the input.

    `columns` gives for each file its select list: expressions over its columns with names.
    """
    selects: list[str] = []
    number = 0
    # Parquet files that are read alike are read together
    numbered = zip(files, map(tuple, columns), strict=True)
    for (is_text, chosen), group in itertools.groupby(numbered, lambda each: (each[0].is_text, each[1])):
        members = [file for file, _ in group]
        if is_text:
            row = "row_number() OVER () - 1"
            selects += [_select(chosen, str(number + n), row, _reader([file])) for n, file in enumerate(members)]
        else:
            selects.append(_select(chosen, f"{number} + file_index", "file_row_number", _reader(members)))
        number += len(members)
    return "\nUNION ALL ".join(selects)


def count_rows(files: Sequence[TableFile], engine: Engine) -> int:
    """How many rows the files have."""
    texts = [file for file in files if file.rows is None]
    counted = sum(engine.value(f"SELECT count(*) FROM {_reader([file])}") for file in texts)
    return counted + sum(file.rows or 0 for file in files)


def undecodable(files: Sequence[TableFile], columns: Sequence[str], error: Exception) -> Exception:
    """The error for files that the engine could not decode: it names the file, and column and row where it can.

    The error itself is returned where no file is at fault, such as for a disk that is full.
    """
    for file in files:
        for column in columns if not file.is_text else ():
            row, reason = _first_undecodable_row(file, column)
            if reason:
                return _unreadable(file.name, f", column '{column}', row {row}", reason)
    named = next((file.name for file in files if str(file.path) in str(error)), None)
    return _unreadable(named, "", str(error).partition("\n\n")[0]) if named else error


def _select(columns: Sequence[str], part: str, row: str, reader: str) -> str:
    return f"SELECT (({part})::BIGINT << {ROW_BITS}) | ({row}) AS pos, {', '.join(columns)} FROM {reader}"


def _reader(files: Sequence[TableFile]) -> str:
    paths = f"[{', '.join(literal(str(file.path)) for file in files)}]"
    if files[0].format == PARQUET:
        return f"read_parquet({paths}, file_row_number=true, hive_partitioning=false)"
    names = "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in files[0].columns) + "}"
    if files[0].format == JSON:
        style = "auto" if ".json" in files[0].path.suffixes else "newline_delimited"
        return f"read_json({paths}, format='{style}', columns={names}, hive_partitioning=false)"
    # nothing is guessed: a guess may skip lines that do not fit
    return (
        f"read_csv({paths}, columns={names}, delim={literal(files[0].delimiter)}, header=true, auto_detect=false, "
        "quote='\"', escape='\"', hive_partitioning=false)"
    )


def _data_files(root: Path) -> list[Path]:
    found = (path for path in root.rglob("*") if path.is_file() and _format(path))
    return sorted(p for p in found if not any(piece.startswith((".", "_")) for piece in p.relative_to(root).parts))


def _format(path: Path) -> str | None:
    return FORMATS.get("".join(path.suffixes[-2:]).lower()) or FORMATS.get(path.suffix.lower())


def _open(path: Path, source: Path, engine: Engine, problems: ProblemLog) -> TableFile | None:
    name = path.relative_to(source).as_posix()
    try:
        if _format(path) == PARQUET:
            with pq.ParquetFile(path) as file:
                columns = {column.name: column.type for column in file.schema_arrow}
                return TableFile(path, name, PARQUET, columns, file.metadata.num_rows)
        if _format(path) == CSV:
            return _open_csv(path, name)
        query = f"DESCRIBE SELECT * FROM read_json({literal(str(path))}, sample_size={_JSON_SAMPLE})"
        return TableFile(path, name, JSON, {column: pa.string() for column, *_ in engine.rows(query)})
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError, StopIteration, engine.Error) as error:
        problems.add("file_readable", name, detail=str(error).partition("\n\n")[0] or "the file is empty")
        return None


def _open_csv(path: Path, name: str) -> TableFile:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
        head = next(iter(lines))
    delimiter = max(_DELIMITERS, key=head.count)
    return TableFile(
        path, name, CSV, dict.fromkeys(next(csv.reader([head], delimiter=delimiter)), pa.string()), None, delimiter
    )


def _first_undecodable_row(file: TableFile, column: str) -> tuple[int, str]:
    row = 0
    try:
        with pq.ParquetFile(file.path, pre_buffer=False) as opened:
            for _ in opened.iter_batches(batch_size=1, columns=[column]):
                row += 1
    except (pa.ArrowInvalid, OSError) as error:
        return row, str(error)
    return row, ""


def _unreadable(name: str, place: str, reason: str) -> ContractError:
    message = f"{name}{place}: rule file_readable ({RULES['file_readable'].meaning}): {reason}"
    return ContractError(message, ((name, "file_readable", 1, message),))
