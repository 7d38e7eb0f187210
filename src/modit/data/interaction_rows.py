"""The stream of interaction rows: what the rules leave of it lies on disk, and is put in order range by range."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from modit.data.hashing import WordIndex
from modit.data.interaction_batches import BatchChecker, CheckedBatch
from modit.data.parts import Part, stream
from modit.data.positions import Positions
from modit.data.quarantine import Quarantine
from modit.data.row_order import OrderedRows, RepeatedRows, RepeatStore, in_order
from modit.data.row_store import RowStore
from modit.data.scratch import Scratch
from modit.data.window import TimeRules
from modit.data.words import Words

BATCH_ROWS = 1 << 19
# Rows that are put in order at once, and words that are numbered at once: what is held does not grow with the log.
SORTED_ROWS = 1 << 21
_TEXTS = ("sequence_id", "item_id")
_THREADS = 2
T = TypeVar("T")


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
        self._words, self._rows = Words(scratch, self._partitions), RowStore(scratch, BATCH_ROWS)
        self._repeats = RepeatStore(scratch)
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
            self._rows.finish_block()
            blocks = itertools.pairwise([*self._rows.entries, len(self._words)])
            sequences = [number[start:end] for start, end in blocks]
            edges = _range_edges(rows)
            list(pool.map(partial(self._split, edges), itertools.count(), sequences))
            ranges = (partial(self._in_order, sequences, *each) for each in enumerate(itertools.pairwise(edges)))
            for ordered, repeated in _ahead(pool, ranges):
                self._repeats.add(repeated)
                yield ordered
        for repeated in self._repeats.blocks(SORTED_ROWS):
            self._set_aside(repeated, catalog)

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
        self._rows.add(batch.rows, len(self._words))
        self._words.add(batch.words)
        self._positions.add(batch.part, batch.start, batch.size, batch.kept)

    def _split(self, edges: list[int], block: int, sequences: np.ndarray) -> None:
        range_of_code = np.searchsorted(edges[1:-1], sequences, side="right").astype(np.uint16)
        self._rows.split(block, range_of_code, len(edges) - 1)

    def _in_order(
        self, sequences: list[np.ndarray], number: int, edges: tuple[int, int]
    ) -> tuple[OrderedRows, RepeatedRows]:
        ordered, places, rows = in_order(self._rows.read(number, sequences), *edges)
        return ordered, RepeatedRows(*self._rows.origin(number, places), rows.item, rows.key)

    def _set_aside(self, rows: RepeatedRows, catalog: WordIndex) -> None:
        key = pa.array(rows.key)
        values = {
            "sequence_id": self._words.take(rows.entry),
            "item_id": catalog.take(rows.item),
            self._order: key.cast(pa.timestamp("us")) if self._order == "timestamp" else key,
        }
        for number, chosen, file_rows in self._positions.files(rows.position):
            here = {name: column[chosen] for name, column in values.items()}
            self._aside.add("duplicate_interaction", self._parts[number].name, file_rows, here, "item_id")


def _range_edges(rows: np.ndarray) -> list[int]:
    """Where ranges of sequences begin that have about `SORTED_ROWS` rows each, and at the end the number of sequences.

    Args:
        rows: int64 [sequences], rows of each; overwritten.
    """
    ends = np.cumsum(rows, out=rows)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(SORTED_ROWS, total, SORTED_ROWS)) + 1
    return [0, *np.unique(cuts[cuts < len(ends)]).tolist(), len(ends)]


def _ahead(pool: Executor, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yields what calls return, in their order, while the next few are at work."""
    waiting: deque[Future[T]] = deque()
    for call in calls:
        waiting.append(pool.submit(call))
        if len(waiting) > _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
