"""The stream of interaction rows: what the rules leave of it lies on disk, and is put in order range by range."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from modit.data.codes import repeats, stable_order
from modit.data.hashing import WordIndex
from modit.data.interaction_batches import BatchChecker, CheckedBatch
from modit.data.parts import Part, stream
from modit.data.positions import Positions
from modit.data.quarantine import Quarantine
from modit.data.row_store import RangeRows, RowStore
from modit.data.scratch import Scratch
from modit.data.window import TimeRules
from modit.data.words import Words

BATCH_ROWS = 1 << 19
# Rows that are put in order at once, and words that are numbered at once: what is held does not grow with the log.
SORTED_ROWS = 1 << 21
_TEXTS = ("sequence_id", "item_id")
_THREADS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class OrderedRows:
    """The good rows of a range of sequences, one sequence after the other, by key; ties keep the order of the input.

    Attributes:
        lengths: int64 [s], rows of each sequence.
        item: int32 [n], row of the catalogue.
        key: int64 [n], position, or timestamp in microseconds.
    """

    lengths: np.ndarray
    item: np.ndarray
    key: np.ndarray


@dataclass(frozen=True)
class _Repeats:
    range: int
    places: np.ndarray  # among the rows of the range, ascending
    rows: RangeRows


class InteractionReader:
    """Reads parts and sets aside what breaks a rule.

    Args:
        parts: the files, whose schemas are checked.
        order: `timestamp` or `position`.
        times: the window, and what a row's time must look like.
        aside: where bad rows go.
        scratch: where rows wait.
    """

    def __init__(self, parts: list[Part], order: str, times: TimeRules, aside: Quarantine, scratch: Scratch) -> None:
        self.outside_window = 0
        self.unordered = 0
        self._parts, self._order, self._times, self._aside = parts, order, times, aside
        rows = sum(part.rows for part in parts)
        self._partitions = 1 << (max(0, rows - 1) // SORTED_ROWS).bit_length()
        self._words, self._rows = Words(scratch, self._partitions), RowStore(scratch)
        self._positions = Positions([part.rows for part in parts])

    def read(self, catalog: WordIndex) -> Iterator[OrderedRows]:
        """Reads all parts.

        Args:
            catalog: the ids of the items.

        Yields:
            The good rows, in ranges of sequences in the order in which these first appear.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            checker = BatchChecker(self._parts, self._order, self._times, catalog, self._partitions)
            for checked in _ahead(pool, (partial(checker.check, *batch) for batch in self._batches())):
                self._take(checked)
            number, rows = self._words.numbered(pool)
            sequences = [number[start:end] for start, end in itertools.pairwise(self._words.starts)]
            edges = _range_edges(rows)
            list(pool.map(partial(self._split, edges), itertools.count(), sequences))
            ranges = (partial(self._in_order, sequences, edges, each) for each in range(len(edges) - 1))
            for ordered, repeated in _ahead(pool, ranges):
                if repeated is not None:
                    self._set_aside(repeated, catalog)
                yield ordered

    def _batches(self) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        for number, part in enumerate(self._parts):
            groups = self._times.window.row_groups(part) if self._order == "timestamp" else None
            seen = 0
            for start, batch in stream(part, [*_TEXTS, self._order], BATCH_ROWS, groups, _TEXTS):
                seen += batch.num_rows
                yield number, start, batch
            self.outside_window += part.rows - seen

    def _take(self, batch: CheckedBatch) -> None:
        self.outside_window += batch.outside
        self.unordered += batch.unordered
        for refused in batch.refused:
            name = self._parts[batch.part].name
            self._aside.add(refused.rule, name, batch.start + refused.rows, refused.values, refused.column)
        self._words.add(batch.words)
        self._rows.add(batch.code, batch.item, batch.key)
        self._positions.add(batch.part, batch.start, batch.size, batch.kept)

    def _split(self, edges: np.ndarray, batch: int, sequences: np.ndarray) -> None:
        range_of_code = np.searchsorted(edges[1:-1], sequences, side="right").astype(np.uint16)
        self._rows.split(batch, range_of_code, len(edges) - 1)

    def _in_order(
        self, sequences: list[np.ndarray], edges: np.ndarray, number: int
    ) -> tuple[OrderedRows, _Repeats | None]:
        low, high = int(edges[number]), int(edges[number + 1])
        rows, order = _sorted(self._rows.read(number, sequences))
        repeated = repeats((rows.sequence, rows.key), rows.item)
        found = None
        if repeated is not None:
            again = np.flatnonzero(repeated)[np.argsort(order[repeated])]
            found = _Repeats(number, order[again], rows.take(again))
            rows = rows.take(~repeated)
        lengths = np.bincount(rows.sequence - low, minlength=high - low)
        return OrderedRows(lengths, rows.item, rows.key), found

    def _set_aside(self, repeats: _Repeats, catalog: WordIndex) -> None:
        position, batch, code = self._rows.origin(repeats.range, repeats.places)
        sequence = self._words.take(np.asarray(self._words.starts)[batch] + code)
        key = pa.array(repeats.rows.key)
        values = {
            "sequence_id": sequence,
            "item_id": catalog.take(repeats.rows.item),
            self._order: key.cast(pa.timestamp("us")) if self._order == "timestamp" else key,
        }
        for number, chosen, file_rows in self._positions.files(position):
            here = {name: column[chosen] for name, column in values.items()}
            self._aside.add("duplicate_interaction", self._parts[number].name, file_rows, here, "item_id")


def _sorted(rows: RangeRows) -> tuple[RangeRows, np.ndarray]:
    """Rows by sequence and key, ties in the order that they have; and their places before."""
    order = stable_order(rows.sequence)
    rows = rows.take(order)
    if ((rows.key[1:] >= rows.key[:-1]) | (rows.sequence[1:] != rows.sequence[:-1])).all():
        return rows, order
    again = np.lexsort((rows.key, rows.sequence))
    return rows.take(again), order[again]


def _range_edges(rows: np.ndarray) -> np.ndarray:
    """Where ranges of sequences begin that have about `SORTED_ROWS` rows each, and at the end the number of sequences.

    Args:
        rows: int64 [sequences], rows of each; overwritten.
    """
    ends = np.cumsum(rows, out=rows)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(SORTED_ROWS, total, SORTED_ROWS)) + 1
    return np.array([0, *np.unique(cuts[cuts < len(ends)]).tolist(), len(ends)])


def _ahead(pool: Executor, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yields what calls return, in their order, while the next few are at work."""
    waiting: deque[Future[T]] = deque()
    for call in calls:
        waiting.append(pool.submit(call))
        if len(waiting) > _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
