"""Which bucket an item lies in: by the hash of its id, so it depends on nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from modit.core.shards import BUCKETS
from modit.data.hashing import word_hashes

_SHIFT = np.uint64(64 - (BUCKETS - 1).bit_length())


def bucket_of(item_ids: np.ndarray | pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The bucket of each item, int64 [N] in [0, 64).

    Args:
        item_ids: N ids, an array of unicode or a column.
    """
    column = pa.array(item_ids.tolist(), pa.string()) if isinstance(item_ids, np.ndarray) else item_ids
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    hashes = [word_hashes(chunk) for chunk in chunks]
    return (np.concatenate([np.empty(0, np.uint64), *hashes]) >> _SHIFT).astype(np.int64)
