"""Words that are spelt alike: another form of a word, or one with a slip of the keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

# Of character n-grams: one wrong letter spoils at most three of the longer ones.
_LENGTHS = (2, 3)
# Words alike of one word: more cost time and find nothing.
_MOST = 30


class Spelling:
    """Finds the words of a vocabulary that share character n-grams with a given one.

    The likeness of two words is the Jaccard index of their sets of n-grams, |A and B| / |A or B|, with a mark at either
    end of a word. It asks nothing of the language.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        parts = [_ngrams(word) for word in vocabulary]
        self._sizes = np.array([len(each) for each in parts])
        self._numbers = {part: number for number, part in enumerate(sorted(set().union(*parts)))}
        numbers = np.array([self._numbers[part] for part in chain.from_iterable(parts)], np.int64)
        owners = np.repeat(np.arange(len(parts)), self._sizes)
        self._owners = owners[np.argsort(numbers, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=len(self._numbers)))])

    def alike(self, word: str, least: float) -> tuple[np.ndarray, np.ndarray]:
        """The words alike, most alike first, at most 30.

        Args:
            word: Not empty; it need not be in the vocabulary.
            least: Likeness that a word alike has at least, in (0, 1].

        Returns:
            Places in the vocabulary, int64 [n], and their likeness, float64 [n].
        """
        own = _ngrams(word)
        lists = [self._list(self._numbers[part]) for part in own if part in self._numbers]
        shared = np.bincount(np.concatenate([np.empty(0, np.int64), *lists]), minlength=len(self._sizes))
        likeness = shared / (len(own) + self._sizes - shared)
        found = np.flatnonzero(likeness >= least)
        found = found[np.argsort(-likeness[found], kind="stable")][:_MOST]
        return found, likeness[found]

    def _list(self, number: int) -> np.ndarray:
        return self._owners[self._starts[number] : self._starts[number + 1]]


def _ngrams(word: str) -> set[str]:
    around = f"<{word}>"
    return {around[start : start + n] for n in _LENGTHS for start in range(len(around) - n + 1)}
