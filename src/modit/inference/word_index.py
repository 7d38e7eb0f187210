"""BM25 over the words of titles: sparse columns of scores that are summed for the words of a text (package bm25s)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from modit.core.errors import ArtifactError
from modit.data.ngrams import words_of

if TYPE_CHECKING:
    import bm25s

# Arrays and JSON; nothing in them is run.
FILES = {
    "data_name": "word_scores.npy",
    "indices_name": "word_items.npy",
    "indptr_name": "word_starts.npy",
    "vocab_name": "words.json",
    "params_name": "word_params.json",
}


class WordIndex:
    """BM25 in the variant of Lucene."""

    def __init__(self, model: bm25s.BM25) -> None:
        self._model, self.items = model, int(model.scores["num_docs"])

    @classmethod
    def build(cls, titles: Sequence[str], k1: float, b: float) -> WordIndex:
        """Indexes titles.

        Args:
            titles: Of all items, each with a letter or digit.
            k1: Saturation of a word's count.
            b: How much the length of a title counts, in [0, 1].
        """
        texts = [words_of(title) for title in titles]
        # in the order of the words: that of a set differs from process to process
        number = {word: place for place, word in enumerate(sorted({word for words in texts for word in words}))}
        model = _package().BM25(method="lucene", k1=k1, b=b)
        ids = [[number[word] for word in words] for words in texts]
        model.index((ids, number), create_empty_token=False, show_progress=False)
        return cls(model)

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The score of every item for each text, float32 [b, N]; 0 where they share no word."""
        found = np.zeros((len(texts), self.items), np.float32)
        for row, text in enumerate(texts):
            if known := [word for word in words_of(text) if self.knows(word)]:
                found[row] = self._model.get_scores(known)
        return found

    def knows(self, word: str) -> bool:
        """Whether a title has the word."""
        return word in self._model.vocab_dict

    def save(self, folder: Path) -> None:
        """Writes `FILES` into an existing folder; equal titles give equal bytes."""
        self._model.save(folder, show_progress=False, **FILES)

    @classmethod
    def load(cls, folder: Path) -> WordIndex:
        """Reads what `save` wrote; the arrays stay on disk.

        Raises:
            ArtifactError: A file is missing or damaged.
        """
        try:
            return cls(_package().BM25.load(folder, mmap=True, show_progress=False, **FILES))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{folder} holds no index of words: {error}") from error


def _package() -> ModuleType:
    """The package bm25s, which imports scipy: only a process that searches by words needs both."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it turns its own debug messages on
    return bm25s
