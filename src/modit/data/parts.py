"""Where a table of the input folder lies, and its rows as a stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ContractError
from modit.core.window import names_partition, partition_day
from modit.data.problems import RULES, ProblemLog

_READ_BUFFER = 1 << 20
# A dictionary page has at most about this size; a code takes at most 17 bits where that holds the words of a column.
_DICTIONARY_BYTES, _CODE_BYTES = 1 << 20, 2.5


@dataclass(frozen=True)
class Part:
    """One parquet file of a table.

    Attributes:
        path: where it lies.
        name: its path relative to the input folder; error messages use it.
        rows: number of rows, from the footer.
        schema: its columns.
        metadata: its footer, read once.
    """

    path: Path
    name: str
    rows: int
    schema: pa.Schema
    metadata: pq.FileMetaData

    @property
    def day(self) -> date | None:
        """The day of its folder `date=YYYY-MM-DD`, or None where it lies in none."""
        return partition_day(self.name)


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
    for path in paths:
        name = path.relative_to(source).as_posix()
        if names_partition(name) and partition_day(name) is None:
            problems.add("partition_name", name)
    parts = [part for path in paths if (part := _open(path, source, problems)) is not None]
    problems.raise_if_any()
    return parts


def stream(
    part: Part,
    columns: list[str],
    batch_rows: int,
    row_groups: list[int] | None = None,
    encoded: tuple[str, ...] = (),
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields (number of the first row, batch) over a part.

    Args:
        part: the file.
        columns: to read.
        batch_rows: most rows of a batch.
        row_groups: read these only; None for all.
        encoded: text columns to read as dictionaries where the file stores them so.

    Raises:
        ContractError: a page of the file cannot be decoded.
    """
    start = 0
    try:
        # pre-buffering would hold the whole file in memory
        dictionaries = _stored_as_dictionaries(part, encoded)
        with pq.ParquetFile(
            part.path, metadata=part.metadata, pre_buffer=False, buffer_size=_READ_BUFFER, read_dictionary=dictionaries
        ) as file:
            for first, groups in _runs_of_row_groups(file.metadata, row_groups):
                start = first
                for batch in file.iter_batches(batch_size=batch_rows, columns=columns, row_groups=groups):
                    yield start, batch
                    start += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _undecodable(part, columns, start, error) from error


def _stored_as_dictionaries(part: Part, columns: tuple[str, ...]) -> list[str]:
    # Where the dictionary grew too large the writer went on with plain values; building it again is slow then.
    columns = tuple(name for name in columns if _is_plain_text(part.schema.field(name).type))
    if not columns:
        return []
    groups = [part.metadata.row_group(number) for number in range(part.metadata.num_row_groups)]
    sizes = {name: [0, 0] for name in columns}
    for group in groups:
        for number in range(group.num_columns):
            chunk = group.column(number)
            if chunk.path_in_schema in sizes and chunk.has_dictionary_page:
                sizes[chunk.path_in_schema][0] += chunk.total_uncompressed_size
                sizes[chunk.path_in_schema][1] += chunk.num_values
    return [
        name
        for name, (size, values) in sizes.items()
        if values and size < _DICTIONARY_BYTES * len(groups) + _CODE_BYTES * values
    ]


def _is_plain_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _runs_of_row_groups(metadata: pq.FileMetaData, chosen: list[int] | None) -> Iterator[tuple[int, list[int] | None]]:
    if chosen is None:
        yield 0, None
        return
    first = 0
    for number in range(metadata.num_row_groups):
        if number in chosen:
            yield first, [number]
        first += metadata.row_group(number).num_rows


def _undecodable(part: Part, columns: list[str], start: int, error: Exception) -> ContractError:
    for column in columns:
        row, reason = _first_undecodable_row(part, column)
        if reason:
            # Arrow writes nulls in a fixed-size list, and cannot read them back
            nulls = pa.types.is_fixed_size_list(part.schema.field(column).type) and "had size=0" in reason
            rule = "not_null" if nulls else "file_readable"
            return _breach(rule, part, f", column '{column}', row {row}", reason)
    return _breach("file_readable", part, f", row {start} or later", str(error))


def _breach(rule: str, part: Part, place: str, reason: str) -> ContractError:
    message = f"{part.name}{place}: rule {rule} ({RULES[rule]}): {reason}"
    return ContractError(message, ((part.name, rule, 1, message),))


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
            return Part(path, name, file.metadata.num_rows, file.schema_arrow, file.metadata)
    except (pa.ArrowInvalid, OSError) as error:
        problems.add("file_readable", name, detail=str(error))
        return None
