"""Hold-outs by hash: who is train, validation or test never depends on who else is there."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from modit.core.errors import ConfigError

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLIT_NAMES = ("train", "validation", "test")


def hash_unit(ids: Iterable[str], salt: str) -> np.ndarray:
    """Maps ids to numbers that look uniform and never change: the first 53 bits of BLAKE2b keyed by the salt.

    Args:
        ids: N ids; an array of unicode or any strings.
        salt: up to 64 bytes of UTF-8; another salt gives independent numbers.

    Returns:
        float64 [N] in [0, 1).
    """
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


def pattern_split(count: int, domain: str, test_share: float, validation_share: float, salt: str) -> np.ndarray:
    """Splits the patterns of a domain: ranked by hash, the first are test, the next validation.

    A domain may have only a dozen patterns, so the numbers are exact (rounded) and not left to chance; a positive share
    gives at least one pattern.

    Args:
        count: number of patterns C.
        domain: name of the domain.
        test_share: share of test in [0, 1].
        validation_share: share of validation in [0, 1]; both together at most 1.
        salt: names the split.

    Returns:
        int8 [C] of `TRAIN`, `VALIDATION` and `TEST`.

    Raises:
        ConfigError: a share is out of range, or no pattern would be left to train on.
    """
    _check_shares(test_share, validation_share)
    test, validation = (max(round(share * count), int(share > 0)) for share in (test_share, validation_share))
    if test + validation >= count:
        raise ConfigError(
            f"domain {domain}: {count} patterns, {test} for test and {validation} for validation leave none to train on"
        )
    order = np.argsort(hash_unit([f"{domain}/{pattern}" for pattern in range(count)], salt), kind="stable")
    split = np.full(count, TRAIN, dtype=np.int8)
    split[order[:test]] = TEST
    split[order[test : test + validation]] = VALIDATION
    return split


def combined_split(items: np.ndarray, patterns: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """The split of items in a domain: the stricter of the item's own and its pattern's.

    Args:
        items: int8 [N], from `item_split`.
        patterns: int8 [C], from `pattern_split`.
        assignment: int [N], the pattern of each item in [0, C).

    Returns:
        int8 [N]: test if either is test, else validation if either is validation, else train.
    """
    return np.maximum(items, patterns[assignment])


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
