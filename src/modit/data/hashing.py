"""Hashes of ids that never change: for hold-outs, for the buckets that tasks share, and for look-ups."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from modit.core.errors import ConfigError
from modit.core.step import BUCKETS

# The highest bits of a hash are the bucket.
_BUCKET_SHIFT = np.uint64(64 - (BUCKETS - 1).bit_length())
# Blocks whose arrays stay in the processor's cache.
_BLOCK = 1 << 15
_ODD = np.uint64(0x9E3779B97F4A7C15)
# The bytes that the last piece of a text has: 0 to 8.
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


def string_hashes(texts: pa.Array) -> np.ndarray:
    """uint64 [n], a multiplicative hash over the texts' bytes, eight at a time; for nulls any number.

    Args:
        texts: string or large_string [n].
    """
    found = np.empty(len(texts), np.uint64)
    for start in range(0, len(texts), _BLOCK):
        found[start : start + _BLOCK] = _hash_block(texts.slice(start, _BLOCK))
    return found


def _offsets_and_bytes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Where each text begins, and at the end where the last one ends [n + 1], and the bytes.

    Args:
        texts: string or large_string [n].
    """
    _, offsets, content = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    places = np.frombuffer(offsets, kind) if offsets else np.zeros(1, kind)
    places = places[texts.offset : texts.offset + len(texts) + 1]
    return places, np.frombuffer(content, np.uint8) if content else np.zeros(0, np.uint8)


def _digest(keyed: blake2b, value: str) -> int:
    state = keyed.copy()
    state.update(value.encode())
    return int.from_bytes(state.digest(), "big")


def _hash_block(texts: pa.Array) -> np.ndarray:
    places, content = _offsets_and_bytes(texts)
    begin, end = int(places[0]), int(places[-1])
    padded = np.zeros(end - begin + 8, np.uint8)
    padded[: end - begin] = content[begin:end]
    pieces = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))  # eight bytes from any place
    start, length = (places[:-1] - begin).astype(np.int64), np.diff(places).astype(np.int64)
    value = length.astype(np.uint64) * _ODD
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
