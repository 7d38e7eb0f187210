"""Rows of interactions on disk, batch by batch, and those of one range of sequences after the other."""

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
    """Rows of batches.

    Args:
        scratch: where they lie.
    """

    def __init__(self, scratch: Scratch) -> None:
        self.starts = [0]
        self._code, self._item, self._key = (scratch.column(kind) for kind in (np.int32, np.int32, np.int64))
        self._row = scratch.column(np.int32)
        self._bounds: list[np.ndarray] = []
        self._is_split: list[bool] = []

    def add(self, code: np.ndarray, item: np.ndarray, key: np.ndarray) -> None:
        """Takes the rows of a batch.

        Args:
            code: int32 [n], number of each row's sequence in the batch.
            item: int32 [n].
            key: int64 [n].
        """
        for column, values in ((self._code, code), (self._item, item), (self._key, key)):
            column.append(values)
        self.starts.append(self.starts[-1] + len(code))
        self._bounds.append(np.array([0, len(code)]))
        self._is_split.append(False)

    def split(self, batch: int, range_of_code: np.ndarray, ranges: int) -> None:
        """Brings the rows of a batch into the order of their ranges; in a range they keep theirs.

        Args:
            batch: its number.
            range_of_code: uint16 [w], the range of each number of the batch.
            ranges: how many there are.
        """
        start, end = self.starts[batch], self.starts[batch + 1]
        found = range_of_code[self._code.slice(start, end)]
        self._bounds[batch] = np.concatenate([[0], np.cumsum(np.bincount(found, minlength=ranges))])
        if start == end or found.min() == found.max():
            return
        order = np.argsort(found, kind="stable")
        for column in (self._code, self._item, self._key):
            column.write(start, column.slice(start, end)[order])
        self._row.write(start, order)
        self._is_split[batch] = True

    def read(self, number: int, sequences: list[np.ndarray]) -> RangeRows:
        """The rows of a range, in the order of the input.

        Args:
            number: of the range.
            sequences: for each batch, int32 [w], the sequence of each number.
        """
        lows, ends = self._places(number)
        rows = RangeRows(*(np.empty(ends[-1], kind) for kind in (np.int32, np.int32, np.int64)))
        for batch, (start, end) in enumerate(itertools.pairwise(ends)):
            if start == end:
                continue
            self._item.read(lows[batch], rows.item[start:end])
            self._key.read(lows[batch], rows.key[start:end])
            code = self._code.slice(lows[batch], lows[batch] + end - start)
            rows.sequence[start:end] = sequences[batch][code]
        return rows

    def origin(self, number: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where rows of a range came from.

        Args:
            number: of the range.
            places: int64 [n], among its rows, ascending.

        Returns:
            Their places in the input, their batches, and the numbers of their sequences in these; int64 [n] each.
        """
        lows, ends = self._places(number)
        batch = np.searchsorted(ends, places, side="right") - 1
        position, code = np.empty(len(places), np.int64), np.empty(len(places), np.int64)
        for each, chosen in runs(batch):
            low, size = lows[each], ends[each + 1] - ends[each]
            within = places[chosen] - ends[each]
            code[chosen] = self._code.slice(low, low + size)[within]
            row = self._row.slice(low, low + size)[within] if self._is_split[each] else low - self.starts[each] + within
            position[chosen] = self.starts[each] + row
        return position, batch, code

    def _places(self, number: int) -> tuple[list[int], list[int]]:
        """Where in the columns the rows of a range begin in each batch; and their places in the range, one more."""
        lows = [start + int(bounds[number]) for start, bounds in zip(self.starts, self._bounds, strict=False)]
        sizes = [int(bounds[number + 1] - bounds[number]) for bounds in self._bounds]
        return lows, list(itertools.accumulate(sizes, initial=0))
