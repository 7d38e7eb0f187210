"""Hashes of columns of ids that never change: for the buckets that tasks share, and for look-ups."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.step import BUCKETS

# The highest bits of a hash are the bucket.
_BUCKET_SHIFT = np.uint64(64 - (BUCKETS - 1).bit_length())
# Texts that are hashed at once, each with the room of the longest.
_BLOCK = 1 << 12
_ODD = np.uint64(0x9E3779B97F4A7C15)


def bucket_of(item_ids: np.ndarray | pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The bucket of each item, int64 [N] in [0, 64)."""
    column = pa.array(item_ids.tolist(), pa.string()) if isinstance(item_ids, np.ndarray) else item_ids
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    hashes = [string_hashes(chunk) for chunk in chunks]
    return (np.concatenate([np.empty(0, np.uint64), *hashes]) >> _BUCKET_SHIFT).astype(np.int64)


def string_hashes(texts: pa.Array) -> np.ndarray:
    """uint64 [n], a multiplicative hash over the texts' bytes, eight at a time; for nulls any number."""
    found = np.empty(len(texts), np.uint64)
    for start in range(0, len(texts), _BLOCK):
        found[start : start + _BLOCK] = _hash_block(texts.slice(start, _BLOCK))
    return found


def _hash_block(texts: pa.Array) -> np.ndarray:
    content = np.array(pc.fill_null(texts.cast(pa.large_binary()), b"").to_pylist())
    length = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False).astype(np.uint64)
    count = -(-int(length.max()) // 8)
    pieces = content.astype(f"S{max(count, 1) * 8}").view("<u8").reshape(len(texts), -1)  # padded with zeros
    value = length * _ODD
    for number in range(count):
        rows = length > 8 * number
        value[rows] = _mixed(value[rows], pieces[rows, number])
    return value


def _mixed(value: np.ndarray, piece: np.ndarray) -> np.ndarray:
    value = (value ^ piece) * _ODD
    value ^= value >> np.uint64(29)
    value *= _ODD
    value ^= value >> np.uint64(32)
    return value
