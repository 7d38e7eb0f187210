"""LanceDB: a collection is a table in a folder, which its client reads without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from typing import Any
from urllib.parse import unquote, urlsplit

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import IvfFlat

from modit.index.engines.collection import Batch, EngineAddress, EngineDownError, EngineError, Hits, first_line

# Distance of an index -> inner product of unit vectors. LanceDB's "l2" is squared.
_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cosine": lambda distance: 1 - distance,
    "dot": lambda distance: 1 - distance,
    "l2": lambda distance: 1 - distance / 2,
}
_SEEN_AFTER = timedelta(seconds=1)  # what another process writes is found so much later at most


class LanceCollection:
    """A table with a column of ids and one of vectors, lists of fixed size.

    Ids of any type are given and taken as text. Vectors of a live table may have any length: they are compared as its
    approximate index does, and by cosine where it has none.

    Attributes:
        address: `effort` is the number of partitions that an approximate search visits, LanceDB's `nprobes`.
    """

    def __init__(self, address: EngineAddress) -> None:
        """Opens the folder at the first question."""
        self.address = address
        self._folder = unquote(urlsplit(address.place).path)
        self._table: Any = None
        self._metric: str | None = None  # of the approximate index

    def count(self) -> int | None:
        """Number of rows of the table; None where it is missing."""
        with self._refusals():
            return self._opened().count_rows() if self._exists() else None

    def dimension(self) -> int:
        """Width of the vectors."""
        with self._refusals():
            return self._layout().field(self.address.vector).type.list_size

    def upsert(self, batches: Iterable[Batch]) -> None:
        """Writes one version of the table, which others see as a whole."""
        incoming = iter(batches)
        if (first := next(incoming, None)) is None:
            return
        with self._refusals():
            if self._exists():
                layout = self._layout()
            else:
                vectors = pa.list_(pa.float32(), first.vectors.shape[1])
                layout = pa.schema([(self.address.id, pa.string()), (self.address.vector, vectors)])
            rows = (_as_arrow(each, layout) for each in chain([first], incoming))
            reader = pa.RecordBatchReader.from_batches(layout, rows)
            if self._exists():
                merge = self._opened().merge_insert(self.address.id)
                merge.when_matched_update_all().when_not_matched_insert_all().execute(reader)
            else:
                self._connect().create_table(self.address.collection, reader)
            self._table = None

    def accelerate(self) -> None:
        """Builds inverted lists of whole vectors, for cosine."""
        with self._refusals():
            self._opened().create_index(self.address.vector, config=IvfFlat(distance_type="cosine"))
            self._table = None

    def search(self, queries: np.ndarray, k: int, only: Sequence[str] | None = None, exact: bool = False) -> list[Hits]:
        """Asks for all queries at once."""
        with self._refusals():
            table, address = self._opened(), self.address
            metric = self._metric or "cosine"
            exact = exact or only is not None or self._metric is None
            wanted = table.search(queries, vector_column_name=address.vector).distance_type(metric).limit(k)
            wanted = wanted.bypass_vector_index() if exact else wanted.nprobes(address.effort).refine_factor(1)
            if only is not None:
                wanted = wanted.where(self._among(only), prefilter=True)
            found = wanted.select([address.id, "_distance"]).to_arrow()
        numbers = found["query_index"].to_numpy() if len(queries) > 1 else np.zeros(len(found), int)
        item_ids = np.array(found[address.id].cast(pa.string()).to_pylist(), dtype=object)
        scores = _SCORES[metric](found["_distance"].to_numpy()).astype(np.float32)
        lists = [
            Hits(item_ids[numbers == number].tolist(), scores[numbers == number]) for number in range(len(queries))
        ]
        short = [number for number, hits in enumerate(lists) if len(hits.item_ids) < k]
        if short and not exact:  # the partitions that were visited hold too few
            for number, hits in zip(short, self.search(queries[short], k, exact=True), strict=True):
                lists[number] = hits
        return lists

    def vectors(self, item_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Reads them by id."""
        with self._refusals():
            found = self._opened().search().where(self._among(item_ids)).limit(len(item_ids)).to_arrow()
        ids = found[self.address.id].cast(pa.string()).to_pylist()
        vectors = pc.list_flatten(found[self.address.vector]).to_numpy().reshape(len(ids), -1)
        return dict(zip(ids, vectors.astype(np.float32), strict=True))

    def drop(self) -> None:
        """Deletes the table's files."""
        with self._refusals():
            self._connect().drop_table(self.address.collection, ignore_missing=True)
            self._table = None

    def _connect(self) -> Any:
        return lancedb.connect(self._folder, read_consistency_interval=_SEEN_AFTER)

    def _exists(self) -> bool:
        try:
            self._opened()
        except ValueError:  # LanceDB says so of a missing table
            return False
        return True

    def _opened(self) -> Any:
        if self._table is None:
            table = self._connect().open_table(self.address.collection)
            indexes = [each for each in table.list_indices() if each.columns == [self.address.vector]]
            stats = table.index_stats(indexes[0].name) if indexes else None
            self._metric = stats.distance_type if stats else None
            self._table = table
        return self._table

    def _layout(self) -> pa.Schema:
        """The two columns of the table."""
        layout, names = self._opened().schema, (self.address.id, self.address.vector)
        if missing := [name for name in names if name not in layout.names]:
            raise EngineError(f"{self.address}: it has no column {', '.join(missing)}")
        vectors = layout.field(self.address.vector).type
        if not pa.types.is_fixed_size_list(vectors):
            raise EngineError(
                f"{self.address}: column {self.address.vector} is {vectors}; allowed: a list of fixed size"
            )
        return pa.schema([layout.field(name) for name in names])

    def _among(self, item_ids: Sequence[str]) -> str:
        """The condition of a filter: the ids, quoted, or as they are in a column of numbers."""
        numbers = pa.types.is_integer(self._layout().field(self.address.id).type)
        values = [str(int(each)) if numbers else "'" + each.replace("'", "''") + "'" for each in item_ids]
        return f"{self.address.id} IN ({', '.join(values)})" if values else "false"

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EngineDownError(f"{self.address} cannot be read: {first_line(error)}") from error
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise EngineError(f"{self.address}: {first_line(error)}") from error


def _as_arrow(batch: Batch, layout: pa.Schema) -> pa.RecordBatch:
    ids, vectors = layout
    flat = pa.array(np.ascontiguousarray(batch.vectors, np.float32).ravel())
    columns = (
        pa.array(batch.item_ids.tolist()).cast(ids.type),
        pa.FixedSizeListArray.from_arrays(flat, batch.vectors.shape[1]),
    )
    return pa.RecordBatch.from_arrays([columns[0], columns[1].cast(vectors.type)], schema=layout)
