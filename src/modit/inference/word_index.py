"""BM25 over the words of titles: sparse columns of scores (package bm25s) that are summed for the words of a text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, get_args

import numpy as np

from modit.core.errors import ArtifactError
from modit.data.ngrams import words_of
from modit.data.stems import NO_STEMMER, StemmerName, stems
from modit.inference.spelling import Spelling

if TYPE_CHECKING:
    import bm25s

# Least likeness, as it is served: "wheelbarrow" has .56 of "weelbarow", "brown" .24 of "unknown".
LIKENESS = 0.25
# Stands for the greatest score where no item has any.
_LEAST = np.float32(1e-6)
# Arrays and JSON; nothing in them is run.
FILES = {
    "data_name": "word_scores.npy",
    "indices_name": "word_items.npy",
    "indptr_name": "word_starts.npy",
    "vocab_name": "words.json",
    "params_name": "word_params.json",
}


class WordIndex:
    """BM25 in the variant of Lucene, over the stems of words, with words that are spelt alike.

    A word that no title has counts for an item as much as the best of the item's words that are like it: their
    likeness, relative to that of the most alike in all titles, times their own BM25. So a misspelt word counts as the
    word that was meant.

    Attributes:
        items: N.
        stemmer: Of Snowball (package PyStemmer), or `NO_STEMMER`.
        likeness: Least that a word of an item needs to count for one that no title has, in (0, 1]; 1 for none.
    """

    def __init__(self, model: bm25s.BM25, stemmer: StemmerName = NO_STEMMER, likeness: float = 1.0) -> None:
        self._model, self.stemmer, self.likeness = model, stemmer, likeness
        self.items = int(model.scores["num_docs"])
        self._spelling = Spelling(list(model.vocab_dict)) if likeness < 1 else None

    @classmethod
    def build(
        cls, titles: Sequence[str], k1: float, b: float, stemmer: StemmerName = NO_STEMMER, likeness: float = 1.0
    ) -> WordIndex:
        """Indexes titles.

        Args:
            titles: Of all items, each with a letter or digit.
            k1: Saturation of a word's count.
            b: How much the length of a title counts, in [0, 1].
            stemmer: As the attribute.
            likeness: As the attribute.
        """
        texts = [stems(words_of(title), stemmer) for title in titles]
        # in the order of the words: that of a set differs from process to process
        number = {word: place for place, word in enumerate(sorted({word for words in texts for word in words}))}
        model = _package().BM25(method="lucene", k1=k1, b=b)
        ids = [[number[word] for word in words] for words in texts]
        model.index((ids, number), create_empty_token=False, show_progress=False)
        return cls(model, stemmer, likeness)

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The score of every item for each text, float32 [b, N]; 0 where they share no word."""
        found, best = np.zeros((len(texts), self.items), np.float32), np.zeros(self.items, np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in stems(words_of(text), self.stemmer):
                lists = [np.empty(0, np.int64)]
                for number, share in zip(*self._alike(word), strict=True):
                    rows, scores = self._list(number)
                    best[rows] = np.maximum(best[rows], np.float32(share) * scores)
                    lists.append(rows)
                touched = np.concatenate(lists)
                row[touched] += best[touched]
                best[touched] = 0
        return found

    def shares(self, texts: Sequence[str]) -> np.ndarray:
        """The scores over the greatest of each text, float32 [b, N], in [0, 1]."""
        found = self.scores(texts)
        return found / np.maximum(found.max(1, keepdims=True), _LEAST)

    def knows(self, word: str) -> bool:
        """Whether a title has the word, in any form that the stemmer takes for it."""
        return stems([word], self.stemmer)[0] in self._model.vocab_dict

    def _alike(self, word: str) -> tuple[np.ndarray, np.ndarray]:
        """Places of the words that count for a word of a text, and how much each does."""
        known = self._model.vocab_dict.get(word)
        if known is not None:
            return np.array([known]), np.ones(1)
        if self._spelling is None:
            return np.empty(0, np.int64), np.empty(0)
        places, likeness = self._spelling.alike(word, self.likeness)
        return places, likeness / likeness.max(initial=self.likeness)

    def _list(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The items that have a word, and its BM25 in each."""
        table = self._model.scores
        part = slice(table["indptr"][number], table["indptr"][number + 1])
        return table["indices"][part], table["data"][part]

    def save(self, folder: Path) -> None:
        """Writes `FILES` into an existing folder; equal titles give equal bytes."""
        self._model.save(folder, show_progress=False, **FILES)

    @classmethod
    def load(cls, folder: Path, stemmer: StemmerName, likeness: float) -> WordIndex:
        """Reads what `save` wrote; the arrays stay on disk.

        Args:
            folder: With the files.
            stemmer: That it was built with.
            likeness: As the attribute.

        Raises:
            ArtifactError: A file is missing or damaged.
        """
        try:
            return cls(_package().BM25.load(folder, mmap=True, show_progress=False, **FILES), stemmer, likeness)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{folder} holds no index of words: {error}") from error


def problem_of_settings(settings: object) -> str:
    """What a document must say of an index of words; empty where it says so."""
    if not isinstance(settings, dict) or set(settings) != {"k1", "b", "stemmer", "likeness"}:
        return "k1, b, stemmer and likeness"
    if settings["stemmer"] not in get_args(StemmerName):
        return f"a stemmer of {', '.join(get_args(StemmerName))}"
    if not isinstance(settings["likeness"], float | int) or not 0 < settings["likeness"] <= 1:
        return "a likeness above 0, at most 1"
    return ""


def _package() -> ModuleType:
    """The package bm25s, which imports scipy: only a process that searches by words needs both."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it turns its own debug messages on
    return bm25s
