"""Reads Parquet files that steps hand over."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(path: Path) -> pa.Table:
    """Reads a file as one table.

    `pyarrow.parquet.read_table` does the same by `pyarrow.dataset`, whose import brings pandas: seconds of each task.

    Args:
        path: of the file.
    """
    with pq.ParquetFile(path) as file:
        return file.read()
