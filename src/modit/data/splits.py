"""Hold-outs by hash: who is train, validation or test never depends on who else is there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from modit.core.errors import ConfigError
from modit.data.hashing import hash_unit

TRAIN, VALIDATION, TEST = 0, 1, 2


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


def _check_shares(test_share: float, validation_share: float) -> None:
    for name, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"{name} must be in [0, 1], is {share}")
    if test_share + validation_share > 1.0:
        raise ConfigError(f"test_share {test_share} and validation_share {validation_share} add up to more than 1")
