"""Rows of interactions on disk, block by block, and those of one range of sequences after the other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from modit.data.positions import runs
from modit.data.scratch import Scratch


@dataclass(frozen=True)
class RangeRows:
    """Rows of some sequences.

    Attributes:
        sequence: int32 [n], number of the sequence.
        item: int32 [n], row of the catalogue.
        key: int64 [n], position, or timestamp in microseconds.
    """

    sequence: np.ndarray
    item: np.ndarray
    key: np.ndarray

    def take(self, chosen: np.ndarray) -> RangeRows:
        """The rows under an index or a mask."""
        return RangeRows(self.sequence[chosen], self.item[chosen], self.key[chosen])


class RowStore:
    """Rows in blocks of one batch or more.

    Args:
        scratch: where they lie.
        block_rows: least rows of a block.

    Attributes:
        entries: the first entry among the words that each block's sequences have.
    """

    def __init__(self, scratch: Scratch, block_rows: int) -> None:
        self.entries: list[int] = []
        self._block_rows, self._rows_waiting = block_rows, 0
        self._waiting: list[RangeRows] = []
        self._starts = [0]
        self._code, self._item, self._key = (scratch.column(kind) for kind in (np.int32, np.int32, np.int64))
        self._row = scratch.column(np.int32)
        self._bounds: list[np.ndarray] = []
        self._is_split: list[bool] = []

    def add(self, rows: RangeRows, entry: int) -> None:
        """Takes the rows of a batch.

        Args:
            rows: with the numbers that their sequences have in the batch.
            entry: that of number 0.
        """
        if not self._waiting:
            self.entries.append(entry)
        code = rows.sequence + np.int32(entry - self.entries[-1])
        self._waiting.append(RangeRows(code, rows.item, rows.key))
        self._rows_waiting += len(code)
        if self._rows_waiting >= self._block_rows:
            self.finish_block()

    def finish_block(self) -> None:
        """Writes the rows that wait for more."""
        if not self._waiting:
            return
        for column, name in ((self._code, "sequence"), (self._item, "item"), (self._key, "key")):
            column.append(np.concatenate([getattr(each, name) for each in self._waiting]))
        self._waiting, self._rows_waiting = [], 0
        self._bounds.append(np.array([0, len(self._code) - self._starts[-1]]))
        self._starts.append(len(self._code))
        self._is_split.append(False)

    def split(self, block: int, range_of_code: np.ndarray, ranges: int) -> None:
        """Brings the rows of a block into the order of their ranges; in a range they keep theirs.

        Args:
            block: its number.
            range_of_code: uint16 [w], the range of each sequence of the block.
            ranges: how many there are.
        """
        start, end = self._starts[block], self._starts[block + 1]
        found = range_of_code[self._code.slice(start, end)]
        self._bounds[block] = np.concatenate([[0], np.cumsum(np.bincount(found, minlength=ranges))])
        if start == end or found.min() == found.max():
            return
        order = np.argsort(found, kind="stable")
        for column in (self._code, self._item, self._key):
            column.write(start, column.slice(start, end)[order])
        self._row.write(start, order)
        self._is_split[block] = True

    def read(self, number: int, sequences: list[np.ndarray]) -> RangeRows:
        """The rows of a range, in the order of the input.

        Args:
            number: of the range.
            sequences: for each block, int32 [w], the sequences of its entries.
        """
        lows, ends = self._places(number)
        rows = RangeRows(*(np.empty(ends[-1], kind) for kind in (np.int32, np.int32, np.int64)))
        for block, (start, end) in enumerate(itertools.pairwise(ends)):
            if start < end:
                self._item.read(lows[block], rows.item[start:end])
                self._key.read(lows[block], rows.key[start:end])
                code = self._code.slice(lows[block], lows[block] + end - start)
                rows.sequence[start:end] = sequences[block][code]
        return rows

    def origin(self, number: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rows of a range came from.

        Args:
            number: of the range.
            places: int64 [n], among its rows, ascending.

        Returns:
            Their places in the input, and the entries of their sequences; int64 [n] each.
        """
        lows, ends = self._places(number)
        position, entry = np.empty(len(places), np.int64), np.empty(len(places), np.int64)
        for block, chosen in runs(np.searchsorted(ends, places, side="right") - 1):
            start, low, size = self._starts[block], lows[block], ends[block + 1] - ends[block]
            within = places[chosen] - ends[block]
            entry[chosen] = self.entries[block] + self._code.slice(low, low + size)[within].astype(np.int64)
            row = self._row.slice(low, low + size)[within] if self._is_split[block] else low - start + within
            position[chosen] = start + row.astype(np.int64)
        return position, entry

    def _places(self, number: int) -> tuple[list[int], list[int]]:
        """Where in the columns the rows of a range begin in each block; and their places in the range, one more."""
        lows = [start + int(bounds[number]) for start, bounds in zip(self._starts, self._bounds, strict=False)]
        sizes = [int(bounds[number + 1] - bounds[number]) for bounds in self._bounds]
        return lows, list(itertools.accumulate(sizes, initial=0))
