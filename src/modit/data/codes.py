"""Ids as numbers: dictionaries of many batches made one, orders that keep ties, repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BLOCK = 1 << 18


def encoded(column: pa.Array) -> pa.DictionaryArray:
    """A column of texts or integers as a dictionary of texts; nulls stay nulls."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes, words = column.indices, column.dictionary
    if words.type == pa.large_string() and codes.type == pa.int32():
        return column
    return pa.DictionaryArray.from_arrays(codes.cast(pa.int32()), words.cast(pa.large_string()))


class Codes:
    """A column that arrives batch by batch; its values become numbers at the end.

    Codes cost four bytes a row, and the words are held once: the cost does not grow with the number of daily partitions
    times the number of words.
    """

    def __init__(self) -> None:
        self._chunks: list[pa.DictionaryArray] = [encoded(pa.array([], pa.large_string()))]

    def add(self, chunk: pa.DictionaryArray) -> None:
        """Takes a batch of `encoded` values without nulls."""
        self._chunks.append(chunk)

    def finish(self) -> tuple[np.ndarray, pa.Array]:
        """The codes, int32 [n], and the word of each code; words are numbered in order of first appearance."""
        whole = pa.chunked_array(self._chunks).unify_dictionaries()
        self._chunks = []
        words = whole.chunk(0).dictionary
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])
        return by_first_appearance(codes, words)


def by_first_appearance(codes: np.ndarray, words: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Renumbers words in order of first appearance; those that no row has are left out.

    Args:
        codes: int32 [n].
        words: the word of each code.
    """
    # a file's own dictionary may have words in another order, and words of rows that were set aside
    if not len(codes):
        return codes, words.slice(0, 0)
    greatest = np.maximum.accumulate(codes)
    if codes[0] == 0 and greatest[-1] == len(words) - 1 and (np.diff(greatest) <= 1).all():
        return codes, words
    first = np.full(len(words), len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    order = np.argsort(first, kind="stable")
    order = order[first[order] < len(codes)]
    number = np.zeros(len(words), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    return number[codes], words.take(pa.array(order))


def is_word(column: pa.DictionaryArray, word: str) -> np.ndarray | None:
    """Bool [n], where a column has this word; None when nowhere."""
    code = pc.index(column.dictionary, pa.scalar(word, pa.large_string())).as_py()
    if code < 0:
        return None
    return pc.fill_null(pc.equal(column.indices, code), False).to_numpy(zero_copy_only=False)


def stable_order(codes: np.ndarray) -> np.ndarray:
    """int64 [n], the order that sorts codes and keeps ties: code and place in one number, which numpy sorts fastest.

    Args:
        codes: int32 [n], not negative.
    """
    bits = max(1, len(codes).bit_length())  # with 31 of the code, enough for 4 thousand million rows
    packed = codes.astype(np.int64) << bits
    packed |= np.arange(len(codes))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def ordered_by(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """int64 [n], the order by (group, key) that keeps ties; quick where rows come in the order of their keys."""
    order = stable_order(groups)
    group, key = groups[order], keys[order]
    if ((key[1:] >= key[:-1]) | (group[1:] != group[:-1])).all():
        return order
    return np.lexsort((keys, groups))


def repeats(columns: Sequence[np.ndarray], item: np.ndarray) -> np.ndarray | None:
    """Rows whose item has occurred before among the neighbours that agree in all columns.

    Args:
        columns: [n] each, sorted together, so that equal rows are neighbours.
        item: int32 [n], not negative.

    Returns:
        Bool [n], true for all but the first of equal rows; None when there are none.
    """
    if len(item) < 2:  # noqa: PLR2004 - it takes two to repeat
        return None
    same = columns[0][1:] == columns[0][:-1]
    for column in columns[1:]:
        same &= column[1:] == column[:-1]
    found = [
        start + places for start, end in _blocks(same) if len(places := _again(same[start : end - 1], item[start:end]))
    ]
    if not found:
        return None
    repeated = np.zeros(len(item), dtype=bool)
    repeated[np.concatenate(found)] = True
    return repeated


def _blocks(same: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of blocks that part no equal neighbours: small ones, whose arrays stay in the cache."""
    start, rows = 0, len(same) + 1
    while start < rows:
        end = min(start + _BLOCK, rows)
        while end < rows and same[end - 1]:
            end += 1
        yield start, end
        start = end


def _again(same: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Places in a block of rows whose item has occurred before in their run of equal neighbours."""
    if not same.any():
        return np.zeros(0, np.int64)
    pairs = np.zeros(len(item), np.int64)
    np.cumsum(~same, out=pairs[1:])
    pairs *= int(item.max()) + 1
    pairs += item
    found = np.sort(pairs)
    found = found[1:][found[1:] == found[:-1]]
    if not len(found):
        return np.zeros(0, np.int64)
    # few rows repeat: only those are looked at closely
    candidates = np.flatnonzero(_may_be_among(pairs, found))
    candidates = candidates[np.argsort(pairs[candidates], kind="stable")]
    return candidates[1:][pairs[candidates[1:]] == pairs[candidates[:-1]]]


def _may_be_among(values: np.ndarray, sought: np.ndarray) -> np.ndarray:
    """Bool [n], true for every value that is sought and for few others."""
    bits = 20
    spread = np.uint64(0x9E3779B97F4A7C15)

    def slot(numbers: np.ndarray) -> np.ndarray:
        return (numbers.astype(np.uint64) * spread) >> np.uint64(64 - bits)

    marked = np.zeros(1 << bits, dtype=bool)
    marked[slot(sought)] = True
    return marked[slot(values)]
