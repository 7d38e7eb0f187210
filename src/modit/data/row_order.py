"""Rows of a range of sequences in order, without repeats; what repeats waits on disk for its turn in the quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modit.data.codes import repeats, stable_order
from modit.data.row_store import RangeRows
from modit.data.scratch import Scratch


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


def in_order(rows: RangeRows, low: int, high: int) -> tuple[OrderedRows, np.ndarray, RangeRows]:
    """Orders rows and parts them from their repeats.

    Args:
        rows: all rows of the sequences `low` to before `high`, in the order of the input.
        low: the first sequence.
        high: the one after the last.

    Returns:
        The first of equal rows; and the others, with their places [r] among `rows`, ascending.
    """
    order = stable_order(rows.sequence)
    rows = rows.take(order)
    if ((rows.key[1:] < rows.key[:-1]) & (rows.sequence[1:] == rows.sequence[:-1])).any():
        again = np.lexsort((rows.key, rows.sequence))
        rows, order = rows.take(again), order[again]
    repeated = repeats((rows.sequence, rows.key), rows.item)
    refused = np.zeros(0, np.int64)
    good = rows
    if repeated is not None:
        refused = np.flatnonzero(repeated)
        refused = refused[np.argsort(order[refused])]
        good = rows.take(~repeated)
    lengths = np.bincount(good.sequence - low, minlength=high - low)
    return OrderedRows(lengths, good.item, good.key), order[refused], rows.take(refused)


@dataclass(frozen=True)
class RepeatedRows:
    """Rows that have occurred before.

    Attributes:
        position: int64 [n], places in the input.
        entry: int64 [n], entries of their sequences among the words.
        item: int32 [n], rows of the catalogue.
        key: int64 [n], position, or timestamp in microseconds.
    """

    position: np.ndarray
    entry: np.ndarray
    item: np.ndarray
    key: np.ndarray


class RepeatStore:
    """Repeated rows on disk, which come range by range and leave in the order of the input.

    Args:
        scratch: where they lie.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._columns = [scratch.column(kind) for kind in (np.int64, np.int64, np.int32, np.int64)]

    def add(self, rows: RepeatedRows) -> None:
        """Takes the rows of a range."""
        for column, values in zip(self._columns, vars(rows).values(), strict=True):
            column.append(values)

    def blocks(self, most: int) -> Iterator[RepeatedRows]:
        """Yields all rows in the order of the input.

        Args:
            most: rows of a block.
        """
        columns = [column.mapped() for column in self._columns]
        order = np.argsort(columns[0])
        for start in range(0, len(order), most):
            yield RepeatedRows(*(column[order[start : start + most]] for column in columns))
