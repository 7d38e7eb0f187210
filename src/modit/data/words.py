"""The words of a column that arrives batch by batch, on disk: numbered at the end, a part of them at a time."""

from __future__ import annotations

import itertools
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modit.data.hashing import offsets_and_bytes, string_hashes
from modit.data.positions import runs
from modit.data.scratch import Scratch

_BLOCK = 1 << 20


@dataclass(frozen=True)
class BatchWords:
    """The distinct words of a batch, those of one partition after those of the other.

    Attributes:
        words: large_string [w].
        code: int32 [w], the number of each word in order of first appearance in the batch.
        bounds: int64 [partitions + 1], where each partition begins, and at the end w.
        rows: int32 [w], rows of each number.
    """

    words: pa.Array
    code: np.ndarray
    bounds: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, words: pa.Array, partitions: int) -> BatchWords:
        """Parts words by their hash.

        Args:
            codes: int32 [n], numbers of words, in order of first appearance.
            words: large_string [w], the word of each number.
            partitions: how many, a power of two.
        """
        partition = (string_hashes(words) & np.uint64(partitions - 1)).astype(np.uint16)
        code = np.argsort(partition, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(partition, minlength=partitions))])
        words = words if partitions == 1 else words.take(pa.array(code))
        return cls(words, code.astype(np.int32), bounds, np.bincount(codes, minlength=len(words)).astype(np.int32))


class Words:
    """The words of all batches on disk; `len` is how many.

    A word's entry is its place among them, batch by batch, in order of appearance.

    Args:
        scratch: where they lie.
        partitions: how many, so that the words of one fit into memory.
    """

    def __init__(self, scratch: Scratch, partitions: int) -> None:
        self._starts = [0]
        self._scratch, self._partitions = scratch, partitions
        self._ends, self._bytes = scratch.column(np.int64), scratch.column(np.uint8)
        self._code, self._rows = scratch.column(np.int32), scratch.column(np.int32)
        self._bounds: list[np.ndarray] = []
        self._ends.append(np.zeros(1, np.int64))

    def __len__(self) -> int:
        return self._starts[-1]

    def add(self, batch: BatchWords) -> None:
        """Takes the words of a batch."""
        places, content = offsets_and_bytes(batch.words)
        self._ends.append(places[1:].astype(np.int64) + (len(self._bytes) - int(places[0])))
        self._bytes.append(content[int(places[0]) : int(places[-1])])
        self._code.append(batch.code)
        self._rows.append(batch.rows)
        self._bounds.append(self._starts[-1] + batch.bounds)
        self._starts.append(self._starts[-1] + len(batch.words))

    def numbered(self, pool: Executor) -> tuple[np.ndarray, np.ndarray]:
        """Numbers the distinct words in order of first appearance.

        Args:
            pool: threads that work on partitions.

        Returns:
            The number of each entry, int32 [entries], and the rows of each number, int64 [words]; maps.
        """
        first = self._scratch.zeros(len(self), np.int32)
        list(pool.map(self._find_first_entries, range(self._partitions), itertools.repeat(first)))
        number, words = _numbered_firsts(first)
        rows = self._scratch.zeros(words, np.int64)
        for start, end in itertools.pairwise(self._starts):
            np.add.at(rows, number[start:end], self._rows.slice(start, end))
        return number, rows

    def take(self, entries: np.ndarray) -> pa.Array:
        """The words of entries, large_string [n].

        Args:
            entries: int64 [n], batch by batch, else in any order.
        """
        place = np.empty(len(entries), np.int64)
        batch = np.searchsorted(self._starts, entries, side="right") - 1
        for number, chosen in runs(batch):
            start = self._starts[number]
            code = self._code.slice(start, self._starts[number + 1])
            place_of_code = np.empty(len(code), np.int64)
            place_of_code[code] = np.arange(start, start + len(code))
            place[chosen] = place_of_code[entries[chosen] - start]
        return self._all().take(pa.array(place))

    def _find_first_entries(self, partition: int, first: np.ndarray) -> None:
        """Puts into `first`, for the entries of a partition, the first entry that has the same word."""
        slices = [(int(bounds[partition]), int(bounds[partition + 1])) for bounds in self._bounds]
        words = self._all()
        chunks = pa.chunked_array([words.slice(low, high - low) for low, high in slices], pa.large_string())
        codes = _joined([chunk.indices.to_numpy() for chunk in chunks.dictionary_encode().chunks])
        code_of_batch = zip(self._starts, slices, strict=False)
        entries = _joined([start + self._code.slice(low, high) for start, (low, high) in code_of_batch])
        greatest = np.maximum.accumulate(codes)
        first[entries] = entries[np.diff(greatest, prepend=-1) > 0][codes]

    def _all(self) -> pa.Array:
        ends, content = self._ends.mapped(), self._bytes.mapped()
        return pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(content))


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *arrays])


def _numbered_firsts(first: np.ndarray) -> tuple[np.ndarray, int]:
    """Overwrites first entries by their numbers, block by block; returns them and how many there are."""
    count = 0
    for start in range(0, len(first), _BLOCK):
        block = first[start : start + _BLOCK]
        is_first = block == np.arange(start, start + len(block))
        earlier = block[~is_first].copy()
        block[is_first] = np.arange(count, count + is_first.sum())
        block[~is_first] = first[earlier]
        count += int(is_first.sum())
    return first, count
