"""Which row of which file a row of the stream was, kept in a few numbers a batch instead of one a row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np


def runs(values: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yields (value, slice) of neighbours that are equal.

    Args:
        values: integers [n].
    """
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for begin, end in itertools.pairwise(edges):
        if begin < end:
            yield int(values[begin]), slice(begin, end)


class Positions:
    """Files and rows of a stream from which some rows were left out.

    Args:
        sizes: rows of each file.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._starts = np.cumsum([0, *sizes])
        self._firsts: list[int] = []
        self._rows: list[tuple[int, np.ndarray | None]] = []  # first row, and a bit for each row that stays or not
        self._length = 0

    def add(self, file: int, start: int, count: int, kept: np.ndarray | None) -> None:
        """Takes a batch.

        Args:
            file: number of the file.
            start: the batch's first row in it.
            count: rows of the batch.
            kept: int64 [n], the rows of the batch that stay in the stream; None for all.
        """
        self._firsts.append(self._length)
        self._rows.append((int(self._starts[file]) + start, None if kept is None else _bits(kept, count)))
        self._length += count if kept is None else len(kept)

    def files(self, position: np.ndarray) -> Iterator[tuple[int, slice, np.ndarray]]:
        """Yields (number of the file, slice of `position`, rows in the file).

        Args:
            position: int64 [n], places in the stream, ascending.
        """
        rows = self._rows_over_all_files(position)
        file = np.searchsorted(self._starts, rows, side="right") - 1
        for number, chosen in runs(file):
            yield number, chosen, rows[chosen] - self._starts[number]

    def _rows_over_all_files(self, position: np.ndarray) -> np.ndarray:
        rows = np.empty(len(position), np.int64)
        edges = np.searchsorted(position, [*self._firsts, self._length])
        for (start, kept), first, begin, end in zip(self._rows, self._firsts, edges[:-1], edges[1:], strict=True):
            if begin < end:
                within = position[begin:end] - first
                rows[begin:end] = start + (within if kept is None else np.flatnonzero(np.unpackbits(kept))[within])
        return rows


def _bits(places: np.ndarray, count: int) -> np.ndarray:
    chosen = np.zeros(count, dtype=bool)
    chosen[places] = True
    return np.packbits(chosen)
