"""Stems of words: "drills" and "drilling" as "drill" (the stemmers of Snowball, package PyStemmer)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

StemmerName = Literal[
    "none", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese",
    "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
]  # fmt: skip
NO_STEMMER: StemmerName = "none"


def stems(words: Sequence[str], stemmer: StemmerName) -> list[str]:
    """The stem of each word; the words themselves with `NO_STEMMER`.

    Args:
        words: In lower case.
        stemmer: Of a language; words of another one it changes seldom or not at all.
    """
    if stemmer == NO_STEMMER:
        return list(words)
    import Stemmer

    # One for each call, as threads may not share one; without its cache that takes a microsecond.
    stemmed: list[str] = Stemmer.Stemmer(stemmer, 0).stemWords(list(words))
    return stemmed
