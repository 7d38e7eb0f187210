"""Hashes of ids that never change: for hold-outs, for the buckets that tasks share, and for look-ups."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import ConfigError
from modit.core.step import BUCKETS

# The highest bits of a hash are the bucket.
_BUCKET_SHIFT = np.uint64(64 - (BUCKETS - 1).bit_length())
# Blocks whose arrays stay in the processor's cache.
_BLOCK = 1 << 15
_ODD = np.uint64(0x9E3779B97F4A7C15)
# The bytes that the last piece of a word has: 0 to 8.
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)


def hash_unit(ids: Iterable[str], salt: str) -> np.ndarray:
    """Maps ids to numbers that look uniform and never change: the first 53 bits of BLAKE2b keyed by the salt.

    Args:
        ids: N ids; an array of unicode or any strings.
        salt: up to 64 bytes of UTF-8; another salt gives independent numbers.

    Returns:
        float64 [N] in [0, 1).

    Raises:
        ConfigError: the salt is too long.
    """
    if len(salt.encode()) > blake2b.MAX_KEY_SIZE:
        raise ConfigError(f"salt must have at most {blake2b.MAX_KEY_SIZE} bytes, is {salt!r}")
    keyed = blake2b(digest_size=8, key=salt.encode())
    values = np.fromiter((_digest(keyed, str(value)) for value in ids), dtype=np.uint64)
    # a float64 holds 53 bits; more would round up to 1.0
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bucket_of(item_ids: np.ndarray | pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The bucket of each item, int64 [N] in [0, 64).

    Args:
        item_ids: N ids, an array of unicode or a column.
    """
    column = pa.array(item_ids.tolist(), pa.string()) if isinstance(item_ids, np.ndarray) else item_ids
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    hashes = [string_hashes(chunk) for chunk in chunks]
    return (np.concatenate([np.empty(0, np.uint64), *hashes]) >> _BUCKET_SHIFT).astype(np.int64)


def string_hashes(words: pa.Array, seed: int = 0) -> np.ndarray:
    """uint64 [n], a multiplicative hash over the words' bytes, eight at a time; for nulls any number.

    Args:
        words: string or large_string [n].
        seed: another one gives another hash.
    """
    found = np.empty(len(words), np.uint64)
    for start in range(0, len(words), _BLOCK):
        found[start : start + _BLOCK] = _hash_block(words.slice(start, _BLOCK), np.uint64(seed))
    return found


def offsets_and_bytes(words: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Where each word begins, and at the end where the last one ends [n + 1], and the bytes.

    Args:
        words: string or large_string [n].
    """
    _, offsets, content = words.buffers()
    kind = np.int64 if pa.types.is_large_string(words.type) else np.int32
    places = np.frombuffer(offsets, kind) if offsets else np.zeros(1, kind)
    places = places[words.offset : words.offset + len(words) + 1]
    return places, np.frombuffer(content, np.uint8) if content else np.zeros(0, np.uint8)


def _digest(keyed: blake2b, value: str) -> int:
    state = keyed.copy()
    state.update(value.encode())
    return int.from_bytes(state.digest(), "big")


def _hash_block(words: pa.Array, seed: np.uint64) -> np.ndarray:
    places, content = offsets_and_bytes(words)
    begin, end = int(places[0]), int(places[-1])
    padded = np.zeros(end - begin + 8, np.uint8)
    padded[: end - begin] = content[begin:end]
    pieces = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))  # eight bytes from any place
    start, length = (places[:-1] - begin).astype(np.int64), np.diff(places).astype(np.int64)
    value = (length.astype(np.uint64) ^ seed) * _ODD
    shortest = int(length.min())
    for done in range(0, int(length.max()), 8):
        if shortest >= done + 8:
            value = _mixed(value, pieces[start + done])
            continue
        rows = np.flatnonzero(length > done)
        piece = pieces[start[rows] + done] & _MASKS[np.minimum(length[rows] - done, 8)]
        value[rows] = _mixed(value[rows], piece)
    return value


def _mixed(value: np.ndarray, piece: np.ndarray) -> np.ndarray:
    value = (value ^ piece) * _ODD
    value ^= value >> np.uint64(29)
    value *= _ODD
    value ^= value >> np.uint64(32)
    return value


class WordIndex:
    """Finds the rows of words, exactly: a hash names the only candidate, and the words are compared.

    Args:
        words: large_string [N], unique and without nulls.
    """

    def __init__(self, words: pa.Array) -> None:
        # short offsets are followed in half the time
        self._words = words.cast(pa.string()) if words.nbytes < np.iinfo(np.int32).max else words
        for self._seed in itertools.count():
            hashes = string_hashes(words, self._seed)
            order = np.argsort(hashes)
            # one more, for words beyond the last
            self._hash, self._row = np.append(hashes[order], np.uint64(0)), np.append(order, -1).astype(np.int32)
            if (self._hash[1:-1] != self._hash[:-2]).all():
                break
        bits = (2 * len(words)).bit_length() + 1
        self._shift = np.uint64(64 - bits)
        # hashes that share their highest bits are neighbours; where each such group begins
        self._begin = np.zeros((1 << bits) + 1, np.int32)
        sizes = np.bincount((self._hash[:-1] >> self._shift).astype(np.int64), minlength=1 << bits)
        np.cumsum(sizes, out=self._begin[1:])

    def rows(self, words: pa.Array) -> np.ndarray:
        """int32 [n], the row of each word; -1 where there is none.

        Args:
            words: string or large_string [n]; what comes out for nulls means nothing.
        """
        found = np.empty(len(words), np.int32)
        for start in range(0, len(words), _BLOCK):
            block = words.slice(start, _BLOCK)
            found[start : start + len(block)] = self._rows_of_block(block)
        return found

    def take(self, rows: np.ndarray) -> pa.Array:
        """The words of rows, [n]."""
        return self._words.take(pa.array(rows))

    def _rows_of_block(self, words: pa.Array) -> np.ndarray:
        found = self._candidates(string_hashes(words, self._seed))
        known = np.flatnonzero(found >= 0)
        words = words if len(known) == len(found) else words.take(pa.array(known))
        same = pc.fill_null(pc.equal(self.take(found[known]), words), False).to_numpy(zero_copy_only=False)
        found[known[~same]] = -1
        return found

    def _candidates(self, hashes: np.ndarray) -> np.ndarray:
        """int32 [n], the rows that have these hashes, or -1."""
        group = (hashes >> self._shift).astype(np.int64)
        place = self._begin[group]
        other = self._hash[place] != hashes
        rest = np.flatnonzero(other)
        while len(rest):
            rest = rest[place[rest] + 1 < self._begin[group[rest] + 1]]
            place[rest] += 1
            same = self._hash[place[rest]] == hashes[rest]
            other[rest[same]] = False
            rest = rest[~same]
        found = self._row[place]
        found[other] = -1
        return found
