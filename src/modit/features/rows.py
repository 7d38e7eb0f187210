"""The offline store: parquet files of rows, appended night by night and never changed.

A file holds the rows of one view that became true at one instant (`event_timestamp`) and were written at one instant
(`created_timestamp`); both are in its name, and `-all` if every item has a row in it. A file of a shard has items of
some buckets only; the first and the last of them follow in its name. An item's state is its row in the newest file that
has one; it is not looked for before the newest file with all items of its bucket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ArtifactError
from modit.core.step import ALL_BUCKETS
from modit.features.tables import FeatureTable

EVENT, CREATED = "event_timestamp", "created_timestamp"
BATCH_ROWS = 65_536
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-(\d{8}T\d{6}\.\d{6}Z)(-all)?(?:-(\d\d)-(\d\d))?\.parquet")
_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, order=True)
class RowFile:
    """A file of rows; later ones win.

    Attributes:
        event: when its rows became true.
        created: when they were written.
        path: where it is.
        complete: whether every item of that night that lies in its buckets has a row in it.
        buckets: in which its items lie.
    """

    event: datetime
    created: datetime
    path: Path = field(compare=False)
    complete: bool = field(compare=False)
    buckets: range = field(default=ALL_BUCKETS, compare=False)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return pq.read_metadata(self.path).num_rows

    def batches(self, columns: list[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Streams its rows; all columns if None."""
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            yield from file.iter_batches(rows, columns=columns)


class OfflineRows:
    """The rows of all views, below the folder of one feature store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._partial = folder / "rows", folder / ".partial"

    def files(self, view: str, buckets: range = ALL_BUCKETS) -> list[RowFile]:
        """The files of a view that have items of some buckets, newest first.

        Raises:
            ArtifactError: a parquet file there is not one of ours.
        """
        found = sorted(map(_parse, (self.folder / view).glob("*.parquet")), reverse=True)
        return [file for file in found if not set(file.buckets).isdisjoint(buckets)]

    def append(
        self,
        table: FeatureTable,
        rows: np.ndarray,
        removed: np.ndarray,
        event: datetime,
        created: datetime,
        buckets: range = ALL_BUCKETS,
    ) -> RowFile:
        """Writes one file; readers see all of it or nothing.

        Args:
            table: of the view.
            rows: int [n], which rows of it to write.
            removed: unicode [r], ids to write without features.
            event: when this became true, UTC.
            created: now, UTC.
            buckets: in which the items of the table lie.
        """
        shard = "" if buckets == ALL_BUCKETS else f"-{buckets[0]:02}-{buckets[-1]:02}"
        partial = self._partial / f"{table.view}{shard}.parquet"
        partial.parent.mkdir(parents=True, exist_ok=True)
        types = {name: arrow_type(values) for name, values in table.columns.items()}
        schema = pa.schema({"item_id": pa.string(), **types, EVENT: _TIME, CREATED: _TIME})

        def batch(ids: np.ndarray, columns: list[pa.Array]) -> pa.RecordBatch:
            times = [pa.repeat(pa.scalar(time, _TIME), len(ids)) for time in (event, created)]
            return pa.record_batch([pa.array(ids.tolist(), pa.string()), *columns, *times], schema=schema)

        with pq.ParquetWriter(partial, schema) as writer:
            for start in range(0, len(rows), BATCH_ROWS):
                chosen = rows[start : start + BATCH_ROWS]
                writer.write_batch(
                    batch(table.item_ids[chosen], [_column(values[chosen]) for values in table.columns.values()])
                )
            if len(removed):
                writer.write_batch(batch(removed, [pa.nulls(len(removed), each) for each in types.values()]))
        complete = len(rows) == len(table)
        name = f"{event.strftime(_STAMP)}-{created.strftime(_STAMP)}{'-all' if complete else ''}{shard}.parquet"
        target = self.folder / table.view / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return RowFile(event, created, partial.replace(target), complete, buckets)


def _parse(path: Path) -> RowFile:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ArtifactError(
            f"{path}: the name is not EVENT-CREATED[-all][-FIRST-LAST].parquet; only publish_features writes here"
        )
    event, created = (datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) for stamp in match.groups()[:2])
    buckets = range(int(match[4]), int(match[5]) + 1) if match[4] else ALL_BUCKETS
    return RowFile(event, created, path, match[3] is not None, buckets)


def arrow_type(values: np.ndarray) -> pa.DataType:
    """Type of the rows' column for a feature of a table."""
    scalar = pa.from_numpy_dtype(values.dtype)
    return pa.list_(scalar) if values.ndim == 2 else scalar


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 2:
        offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).ravel()))
    return pa.array(values, from_pandas=True)  # NaN becomes null
