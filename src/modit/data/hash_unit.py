"""Numbers in [0, 1) that ids are hashed to, and that never change: for hold-outs, samples and ties."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def hash_unit(ids: Iterable[str], salt: str) -> np.ndarray:
    """Maps ids to numbers that look uniform and never change, float64 [N] in [0, 1).

    They are the first 53 bits of BLAKE2b, keyed by the salt (at most 64 bytes): another salt gives independent numbers.
    """
    keyed = blake2b(digest_size=8, key=salt.encode())
    values = np.fromiter((_digest(keyed, str(value)) for value in ids), dtype=np.uint64)
    # a float64 holds 53 bits; more would round up to 1.0
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _digest(keyed: blake2b, value: str) -> int:
    state = keyed.copy()
    state.update(value.encode())
    return int.from_bytes(state.digest(), "big")
