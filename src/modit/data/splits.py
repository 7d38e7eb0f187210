"""Hold-outs: the role of an item by the hash of its id, and the names of the sets of cases."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import numpy as np

from modit.core.errors import ConfigError
from modit.data.hash_unit import hash_unit

# The role of an item or of a pattern. Of two roles the greater one counts.
TRAIN, VALIDATION, TEST = 0, 1, 2


class Split(StrEnum):
    """A set of cases: models are chosen on two validation splits and judged on two hold-outs of the same kinds."""

    ITEM_VALIDATION = "item_validation"
    PATTERN_VALIDATION = "pattern_validation"
    ITEM_HOLDOUT = "item_holdout"
    PATTERN_HOLDOUT = "pattern_holdout"

    @property
    def validation(self) -> Split:
        """The validation split of the same kind."""
        return Split(self.kind + "_validation")

    @property
    def kind(self) -> str:
        """What is unseen: "item" (new items of patterns that training knows) or "pattern" (whole patterns)."""
        return self.value.partition("_")[0]

    @property
    def description(self) -> str:
        """The kind in words, for reports."""
        return {"item": "new items of known patterns", "pattern": "patterns never seen"}[self.kind]


class ResultScope(StrEnum):
    """Which items may be results of a case.

    The discovery scope holds only items whose verdict nobody has used: those whose role is test, or validation for
    choices. It is what the system is for: where a verdict is known, a filter finds the item.
    """

    DISCOVERY = "discovery"
    WHOLE_CATALOGUE = "whole_catalogue"


VALIDATIONS = (Split.ITEM_VALIDATION, Split.PATTERN_VALIDATION)
HOLDOUTS = (Split.ITEM_HOLDOUT, Split.PATTERN_HOLDOUT)


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
    if min(test_share, validation_share) < 0 or test_share + validation_share > 1:
        shares = f"test_share {test_share} and validation_share {validation_share}"
        raise ConfigError(f"{shares}: one is below 0, or they add up to more than 1")
    unit = hash_unit(item_ids, salt)
    split = np.full(len(unit), TRAIN, dtype=np.int8)
    split[unit < test_share + validation_share] = VALIDATION
    split[unit < test_share] = TEST
    return split
