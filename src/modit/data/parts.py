"""Where a table of the input folder lies, and its rows as a stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ContractError
from modit.data.problems import RULES, ProblemLog

_READ_BUFFER = 1 << 20


@dataclass(frozen=True)
class Part:
    """One parquet file of a table.

    Attributes:
        path: where it lies.
        name: its path relative to the input folder; error messages use it.
        rows: number of rows, from the footer.
        schema: its columns.
    """

    path: Path
    name: str
    rows: int
    schema: pa.Schema


def has_table(source: Path, table: str) -> bool:
    """True if the input folder has `table.parquet` or `table/`."""
    return (source / f"{table}.parquet").exists() or (source / table).is_dir()


def find_parts(source: Path, table: str) -> list[Part]:
    """Finds the parquet files of a table, sorted by name, so that row order does not depend on the file system.

    Args:
        source: the input folder.
        table: `items`, `interactions` or `retrieval_labels`. Its rows lie in `table.parquet`, or in any depth
            under the folder `table.parquet/` or `table/`; names that start with `.` or `_` are ignored.

    Raises:
        ContractError: no such file, both file and folder, an empty folder, or a file that is not parquet.
    """
    problems = ProblemLog()
    file, folder = source / f"{table}.parquet", source / table
    if file.exists() == folder.is_dir():
        state = "both exist" if file.exists() else "neither exists"
        problems.add("file_present", f"{table}.parquet", detail=f"{state}: {file} and {folder}/")
        problems.raise_if_any()
    root = file if file.exists() else folder
    paths = _parquet_files(root) if root.is_dir() else [root]
    if not paths:
        problems.add("file_present", root.name, detail=f"no *.parquet under {root}")
    parts = [part for path in paths if (part := _open(path, source, problems)) is not None]
    problems.raise_if_any()
    return parts


def stream(part: Part, columns: list[str], batch_rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields (number of the first row, batch) over a part.

    Raises:
        ContractError: a page of the file cannot be decoded.
    """
    start = 0
    try:
        # pre-buffering would hold the whole file in memory
        with pq.ParquetFile(part.path, pre_buffer=False, buffer_size=_READ_BUFFER) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
                yield start, batch
                start += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _undecodable(part, columns, start, error) from error


def _undecodable(part: Part, columns: list[str], start: int, error: Exception) -> ContractError:
    for column in columns:
        row, reason = _first_undecodable_row(part, column)
        if reason:
            # Arrow writes nulls in a fixed-size list, and cannot read them back
            nulls = pa.types.is_fixed_size_list(part.schema.field(column).type) and "had size=0" in reason
            rule = "not_null" if nulls else "file_readable"
            return ContractError(f"{part.name}, column '{column}', row {row}: rule {rule} ({RULES[rule]}): {reason}")
    return ContractError(f"{part.name}, row {start} or later: rule file_readable ({RULES['file_readable']}): {error}")


def _first_undecodable_row(part: Part, column: str) -> tuple[int, str]:
    row = 0
    try:
        with pq.ParquetFile(part.path, pre_buffer=False, buffer_size=_READ_BUFFER) as file:
            for _ in file.iter_batches(batch_size=1, columns=[column]):
                row += 1
    except (pa.ArrowInvalid, OSError) as error:
        return row, str(error)
    return row, ""


def _parquet_files(root: Path) -> list[Path]:
    found = (path for path in root.rglob("*.parquet") if path.is_file())
    return sorted(p for p in found if not any(piece.startswith((".", "_")) for piece in p.relative_to(root).parts))


def _open(path: Path, source: Path, problems: ProblemLog) -> Part | None:
    name = path.relative_to(source).as_posix()
    try:
        with pq.ParquetFile(path) as file:
            return Part(path, name, file.metadata.num_rows, file.schema_arrow)
    except (pa.ArrowInvalid, OSError) as error:
        problems.add("file_readable", name, detail=str(error))
        return None
