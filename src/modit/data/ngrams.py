"""Texts as hashed n-grams: words, pairs of neighbouring words, and character n-grams of each word.

A bucket follows from the n-gram alone, so that a tower reads any text of any language without a vocabulary file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa

from modit.core.errors import ContractError
from modit.data.hashing import string_hashes

# Which of two towers reads a text.
Side = Literal["query", "item"]
# What stands in a bag where a text has fewer n-grams than the longest; n-grams have 1 to `buckets`.
PADDING = 0
# Bounds the cost of a very long text; titles and queries have fewer.
WORDS_MAX = 64
CHARACTERS = (3, 4)
# Longer words are rare, and what is kept of them would fill the memory of a service that anyone may send texts to.
_KEPT_MAX = 32
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, in lower case and without accents, at most `WORDS_MAX`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    return _WORD.findall(plain)[:WORDS_MAX]


def bags(texts: Sequence[Sequence[str]], buckets: int) -> list[np.ndarray]:
    """The buckets of the n-grams of each text, int64 arrays of values in [1, buckets].

    Args:
        texts: the words of each.
        buckets: how many there are.

    Raises:
        ContractError: a text has no word.
    """
    if empty := [number for number, words in enumerate(texts) if not words]:
        raise ContractError(f"{len(empty)} texts have no letter or digit, the first is number {empty[0]}")
    pairs = [f"{first} {second}" for words in texts for first, second in pairwise(words)]
    hashed = _buckets(pairs, buckets)
    found, place = [], 0
    for words in texts:
        end = place + len(words) - 1
        found.append(np.concatenate([*(_of_word(word, buckets) for word in words), hashed[place:end]]))
        place = end
    return found


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Bags as one array, int64 [n, longest], filled with `PADDING`."""
    lengths = np.array([len(row) for row in rows])
    table = np.full((len(rows), max(1, int(lengths.max(initial=0)))), PADDING, np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([np.empty(0, np.int64), *rows])
    return table


def _of_word(word: str, buckets: int) -> np.ndarray:
    return (_kept if len(word) <= _KEPT_MAX else _ngrams)(word, buckets)


def _ngrams(word: str, buckets: int) -> np.ndarray:
    around = f"<{word}>"
    parts = {around[start : start + n] for n in CHARACTERS for start in range(len(around) - n + 1)} - {around}
    return _buckets([word, *sorted(parts)], buckets)


_kept = lru_cache(maxsize=1 << 18)(_ngrams)


def _buckets(texts: Sequence[str], buckets: int) -> np.ndarray:
    return 1 + (string_hashes(pa.array(texts, pa.string())) % np.uint64(buckets)).astype(np.int64)
