"""Vectors of words of a general language: those of WordLlama, whose 16 MB of weights come with the package.

They say what titles alone cannot: that a word of an intent which no title has is like one that some have.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modit.core.errors import MissingExtraError
from modit.data.ngrams import words_of
from modit.data.vectors import unit

if TYPE_CHECKING:
    from wordllama.inference import WordLlamaInference


def general_words() -> set[str]:
    """The words that have a token of their own, some 12,000 of English and of other languages in Latin script.

    Raises:
        MissingExtraError: the package is not installed.
    """
    tokens = (token.removeprefix("▁") for token in _model().tokenizer.get_vocab() if token.startswith("▁"))
    return {word for token in tokens for word in words_of(token) if word == token.lower() and word.isalpha()}


def general_vectors(words: Iterable[str]) -> np.ndarray:
    """Unit vectors of words, float32 [n, 256]; of a word of several tokens that of their mean.

    Raises:
        MissingExtraError: the package is not installed.
    """
    return unit(np.asarray(_model().embed(list(words)), np.float32))


@cache
def _model() -> WordLlamaInference:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        import wordllama
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "general_share above 0 needs wordllama, which is not installed: pip install 'modit[text]', or set it to 0"
        ) from error
    # importing it turns on the log lines of all libraries
    root.setLevel(level)
    root.handlers = handlers
    # the tokenizer lies there; elsewhere it would be looked for on the network
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
