"""Hold-outs by hash: who is train, validation or test never depends on who else is there."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from modit.core.errors import ConfigError

TRAIN, VALIDATION, TEST = 0, 1, 2


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


def item_split(item_ids: Iterable[str], test_share: float, validation_share: float, salt: str) -> np.ndarray:
    """Splits items by the hash of their id; adding or removing items moves no other item.

    Args:
        item_ids: N ids.
        test_share: expected share of test in [0, 1].
        validation_share: expected share of validation in [0, 1]; both together at most 1.
        salt: names the split.

    Returns:
        int8 [N] of `TRAIN`, `VALIDATION` and `TEST`.

    Raises:
        ConfigError: a share is out of range.
    """
    _check_shares(test_share, validation_share)
    unit = hash_unit(item_ids, salt)
    split = np.full(len(unit), TRAIN, dtype=np.int8)
    split[unit < test_share + validation_share] = VALIDATION
    split[unit < test_share] = TEST
    return split


def _digest(keyed: blake2b, value: str) -> int:
    state = keyed.copy()
    state.update(value.encode())
    return int.from_bytes(state.digest(), "big")


def _check_shares(test_share: float, validation_share: float) -> None:
    for name, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"{name} must be in [0, 1], is {share}")
    if test_share + validation_share > 1.0:
        raise ConfigError(f"test_share {test_share} and validation_share {validation_share} add up to more than 1")
