"""Sessions for the prediction of the next item: of each one the last item is the test, the one before it validation.

This is the split that published tables on sequential recommendation use (leave one out): the history of a test case
includes the validation item, and models are trained on what comes before both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences

# Items of a session that a case of each part needs: the history has at least one item.
_FROM_END = {"validation": 2, "test": 1}


class SessionPart(StrEnum):
    """A set of cases, one for each session that is long enough."""

    VALIDATION = "validation"
    TEST = "test"

    @property
    def validation(self) -> SessionPart:
        """The cases that settings are chosen on."""
        return SessionPart.VALIDATION

    @property
    def description(self) -> str:
        """The part in words, for reports."""
        return {"validation": "the last item but one of each session", "test": "the last item of each session"}[self]


@dataclass(frozen=True)
class Sessions:
    """The sequences of a catalogue, cut into training items, validation item and test item.

    Attributes:
        sequences: all of them, in order of time or position.
    """

    sequences: Sequences

    @cached_property
    def training(self) -> Sequences:
        """The items before the validation item, of the sessions of three items and more."""
        return _prefixes(self.sequences, self._long_enough(SessionPart.VALIDATION), 2)

    def histories(self, part: SessionPart) -> Sequences:
        """All items before the target of each case, oldest first: those of a test case include the validation item."""
        return _prefixes(self.sequences, self._long_enough(part), _FROM_END[part])

    def targets(self, part: SessionPart) -> np.ndarray:
        """The item to predict of each case, int32 [n], in the order of `histories`."""
        ends = self.sequences.offsets[1:][self._long_enough(part)]
        return self.sequences.items[ends - _FROM_END[part]].astype(np.int32)

    def users(self, part: SessionPart) -> np.ndarray:
        """The number of the session of each case, int32 [n]; also what the bootstrap resamples."""
        return np.flatnonzero(self._long_enough(part)).astype(np.int32)

    def repeat_share(self, part: SessionPart) -> float:
        """The share of a part's targets that are in their own history."""
        histories, targets = self.histories(part), self.targets(part)
        owner = np.repeat(np.arange(len(targets)), np.diff(histories.offsets))
        return len(np.unique(owner[histories.items == targets[owner]])) / max(1, len(targets))

    @property
    def left_out(self) -> dict[str, int]:
        """Part -> number of sessions that are too short for one of its cases."""
        return {part.value: len(self.sequences) - int(self._long_enough(part).sum()) for part in SessionPart}

    def require_training(self) -> None:
        """Refuses sessions that nothing can be learned or measured from.

        Raises:
            InsufficientDataError: no session has the four items that one training pair, validation and test need.
        """
        longest = int(np.diff(self.sequences.offsets).max()) if len(self.sequences) else 0
        if longest < 4:  # noqa: PLR2004 - two training items, validation, test
            raise InsufficientDataError(
                f"interactions: {len(self.sequences)} sessions, the longest of {longest} items; predicting the next "
                "item needs sessions of 4 items and more (two to train on, one for validation, one for the test)"
            )

    def _long_enough(self, part: SessionPart) -> np.ndarray:
        return np.diff(self.sequences.offsets) > _FROM_END[part]


def training_counts(training: Sequences, items: int) -> np.ndarray:
    """How often each item occurs in training sessions, int64 [N]."""
    return np.bincount(training.items, minlength=items).astype(np.int64)


def head_items(counts: np.ndarray, share: float = 0.8) -> np.ndarray:
    """The smallest set of items that covers a share of the interactions, bool [N].

    Args:
        counts: interactions of each item, >= 0 [N]; equal counts are in or out together, so that the order of the rows
            decides nothing.
        share: of all interactions that the set covers at least, in (0, 1].

    Returns:
        Items whose count is at least that of the last item needed; items without interactions are never among them.
    """
    ordered = np.sort(counts)[::-1]
    needed = int(np.searchsorted(np.cumsum(ordered), share * counts.sum()))
    return (counts >= max(1, ordered[min(needed, len(ordered) - 1)])) if len(counts) else np.zeros(0, bool)


def _prefixes(sequences: Sequences, chosen: np.ndarray, dropped: int) -> Sequences:
    """The chosen sequences without their last `dropped` items."""
    lengths = np.diff(sequences.offsets)[chosen] - dropped
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    starts = sequences.offsets[:-1][chosen]
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return Sequences(offsets, np.asarray(sequences.items)[places])
