"""The rules on single interaction rows: window, nulls, times, unknown items; batch by batch, in threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modit.data.codes import by_first_appearance, encoded, is_word
from modit.data.hashing import WordIndex
from modit.data.parts import Part
from modit.data.row_store import RangeRows
from modit.data.window import TimeRules, microseconds
from modit.data.words import BatchWords


@dataclass(frozen=True)
class Refused:
    """Rows of a batch that one rule caught.

    Attributes:
        rule: the rule.
        column: that breaks it.
        rows: int64 [n], places in the batch.
        values: column -> [n].
    """

    rule: str
    column: str
    rows: np.ndarray
    values: dict[str, pa.Array]


@dataclass(frozen=True)
class CheckedBatch:
    """A batch and what the rules made of it.

    Attributes:
        part: number of the file.
        start: the batch's first row in the file.
        size: rows of the batch.
        outside: rows that belong to another window.
        unordered: rows older than the row above them.
        refused: rows to set aside.
        kept: int64 [n], places of the good rows; None for all.
        rows: the good rows; their sequences are numbers of `words`.
        words: the sequences, those too whose rows all have an unknown item.
    """

    part: int
    start: int
    size: int
    outside: int
    unordered: int
    refused: list[Refused]
    kept: np.ndarray | None
    rows: RangeRows
    words: BatchWords


class BatchChecker:
    """Holds batches against the rules; it keeps nothing, so threads can share it.

    Args:
        parts: the files.
        order: `timestamp` or `position`.
        times: the window, and what a row's time must look like.
        catalog: the ids of the items.
        partitions: of the words.
    """

    def __init__(self, parts: list[Part], order: str, times: TimeRules, catalog: WordIndex, partitions: int) -> None:
        self._parts, self._order, self._times = parts, order, times
        self._catalog, self._partitions = catalog, partitions
        self._columns = ("sequence_id", "item_id", order)

    def check(self, part: int, start: int, batch: pa.RecordBatch) -> CheckedBatch:
        """Checks the rows of a batch.

        Args:
            part: number of the file.
            start: the batch's first row in the file.
            batch: `sequence_id`, `item_id` and the column of the order.
        """
        sequence, item, key = encoded(batch["sequence_id"]), self._catalog_rows(batch["item_id"]), self._key(batch)
        outside = self._outside(part, batch, key)
        kept = ~outside
        breaches = self._breaches(part, batch, sequence, key)
        refused = [self._refuse(rule, column, bad, kept, batch) for rule, column, bad in breaches]
        placed = np.flatnonzero(kept)  # in a sequence, be the item known or not
        code, words = _numbered(sequence, placed)
        refused.append(self._refuse("unknown_item", "item_id", item < 0, kept, batch))
        good = None if kept.all() else np.flatnonzero(kept)
        rows = RangeRows(code, item, key) if good is None else RangeRows(code[kept[placed]], item[good], key[good])
        return CheckedBatch(
            part,
            start,
            len(key),
            outside=int(outside.sum()),
            unordered=int((np.diff(key[placed]) < 0).sum()) if self._order == "timestamp" else 0,
            refused=[each for each in refused if len(each.rows)],
            kept=good,
            rows=rows,
            words=BatchWords.of(code, words, self._partitions),
        )

    def _outside(self, part: int, batch: pa.RecordBatch, key: np.ndarray) -> np.ndarray:
        outside = None
        if self._order == "timestamp":
            moment = batch[self._order]
            known = moment.is_valid().to_numpy(zero_copy_only=False) if moment.null_count else None
            outside = self._times.outside(self._parts[part], key, known)
        return np.zeros(len(key), dtype=bool) if outside is None else outside

    def _refuse(self, rule: str, column: str, bad: np.ndarray, kept: np.ndarray, batch: pa.RecordBatch) -> Refused:
        """Takes the bad rows out of `kept`, and what is to be written of those that no rule has caught before."""
        rows = np.flatnonzero(bad & kept)
        kept &= ~bad
        values = {name: batch[name].take(pa.array(rows)) for name in self._columns} if len(rows) else {}
        return Refused(rule, column, rows, values)

    def _breaches(
        self, part: int, batch: pa.RecordBatch, sequence: pa.DictionaryArray, key: np.ndarray
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        for name in self._columns:
            if batch[name].null_count:
                yield "null_in_interaction", name, batch[name].is_null().to_numpy(zero_copy_only=False)
        empty = is_word(sequence, "")
        if empty is not None:
            yield "empty_sequence_id", "sequence_id", empty
        if self._order == "timestamp":
            for rule, bad in self._times.breaches(self._parts[part], key):
                yield rule, "timestamp", bad

    def _catalog_rows(self, column: pa.Array) -> np.ndarray:
        if not pa.types.is_dictionary(column.type):
            return self._catalog.rows(column)
        rows = self._catalog.rows(column.dictionary)
        codes = column.indices.fill_null(0) if column.null_count else column.indices
        return rows[codes.to_numpy()] if len(rows) else np.full(len(column), -1, np.int32)

    def _key(self, batch: pa.RecordBatch) -> np.ndarray:
        if self._order == "timestamp":
            return microseconds(batch[self._order])
        values = batch[self._order].cast(pa.int64())
        return (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)


def _numbered(sequence: pa.DictionaryArray, rows: np.ndarray) -> tuple[np.ndarray, pa.Array]:
    """The sequences of some rows, numbered in order of first appearance: int32 [n], and the word of each number."""
    whole = len(rows) == len(sequence)
    codes = (sequence if whole else sequence.take(pa.array(rows))).indices.to_numpy()
    return by_first_appearance(codes, sequence.dictionary)
