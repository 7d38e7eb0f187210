"""The frozen text space that intents, sub-queries and items share, made of the items' titles and of general words.

A text is the set of its words: its vector is the unit sum of the words' vectors, so that the vector of any few words
costs one sum. A word has two parts. The first is its row of a truncated SVD of the titles' TF-IDF matrix, times its
inverse document frequency (latent semantic analysis). The second is its vector in a general language, times the square
root of that frequency's inverse. An SVD of the items then reduces both together.

Shape legend: V words, N items, d dimension.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError, ContractError, InsufficientDataError
from modit.data.general_words import general_vectors, general_words
from modit.data.ngrams import words_of
from modit.data.vectors import unit

SPACE_FILE = "text_space.npz"


class TextSpace:
    """Vectors of texts.

    Attributes:
        words: that have a vector, unicode [V], sorted.
        vectors: of the words, float32 [V, d], of any length.
        items: unit vectors of the titles, float32 [N, d].
    """

    def __init__(self, words: np.ndarray, vectors: np.ndarray, items: np.ndarray) -> None:
        self.words, self.vectors, self.items = words, vectors, items

    @classmethod
    def fit(cls, titles: Sequence[str], dimension: int, general: GeneralWords | None = None) -> TextSpace:
        """The space of a catalogue; the same titles give the same bytes.

        Args:
            titles: of all items, each with a letter or digit.
            dimension: most numbers of a vector; fewer where there are fewer items or words.
            general: further words, and the part that is not of titles; None: titles alone.

        Raises:
            InsufficientDataError: there is one item, or one word: nothing tells items apart.
        """
        # a service reads spaces and fits none
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        model = TfidfVectorizer(tokenizer=words_of, token_pattern=None, lowercase=False, sublinear_tf=True)
        weights = model.fit_transform(titles)
        if min(weights.shape) < 2:  # noqa: PLR2004
            items, words = weights.shape
            raise InsufficientDataError(
                f"items: {items} with {words} words in their titles; a text space needs 2 of both"
            )
        width = min(dimension, *weights.shape)
        names = model.get_feature_names_out().astype(str)
        with threadpool_limits(1):
            vectors = (_axes(weights, width) * model.idf_).T
            if general is not None:
                names, vectors = _with_general(names, vectors, model.idf_, titles, general, width)
        order = np.argsort(names)
        names, vectors = names[order], vectors[order].astype(np.float32)
        items = cls(names, vectors, np.empty((0, vectors.shape[1]), np.float32)).encode(titles)
        return cls(names, vectors, items)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words.tolist())}

    @cached_property
    def _centre(self) -> np.ndarray:
        return unit(self.items.mean(0, keepdims=True))[0] if len(self.items) else np.full(self.vectors.shape[1], 1.0)

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors.shape[1])

    def known(self, text: str) -> list[int]:
        """The places of the words of a text that have a vector, each once, in their order.

        Raises:
            ContractError: the text has no letter or digit.
        """
        words = words_of(text)
        if not words:
            raise ContractError(f"the text {text[:40]!r} has no letter or digit; allowed: a text with at least one")
        return [self._places[word] for word in dict.fromkeys(words) if word in self._places]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of texts, float32 [n, d].

        A text without a known word has the mean of all items: it finds what is typical of the catalogue.

        Raises:
            ContractError: a text has no letter or digit.
        """
        found, lost = self._units([self.known(text) for text in texts])
        found[lost] = self._centre
        return unit(found)

    def encode_words(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """Unit vectors of texts that are given as words, float32 [n, d]; zeros for one without a known word."""
        places = [[self._places[word] for word in dict.fromkeys(text) if word in self._places] for text in texts]
        return self._units(places)[0]

    def _units(self, places: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Unit sums of the words of texts, and which texts have none; theirs are zeros."""
        sums = np.zeros((len(places), self.dimension), np.float32)
        for row, own in enumerate(places):
            sums[row] = self.vectors[list(own)].sum(0)
        lost = np.linalg.norm(sums, axis=1) < 1e-9  # noqa: PLR2004 - rounding
        sums[~lost] = unit(sums[~lost])
        sums[lost] = 0
        return sums, lost

    def tokens(self, texts: Sequence[str], most: int) -> tuple[np.ndarray, np.ndarray]:
        """Texts as tokens for a network: the text's own vector, then those of its words.

        Args:
            texts: each with a letter or digit.
            most: words that are read of each text, its first known ones.

        Returns:
            Unit vectors float32 [n, 1 + most, d], zeros at padding, and bool [n, 1 + most], false at padding.

        Raises:
            ContractError: a text has no letter or digit.
        """
        tokens = np.zeros((len(texts), 1 + most, self.dimension), np.float32)
        valid = np.zeros(tokens.shape[:2], bool)
        tokens[:, 0], valid[:, 0] = self.encode(texts), True
        for row, text in enumerate(texts):
            known = self.known(text)[:most]
            tokens[row, 1 : 1 + len(known)], valid[row, 1 : 1 + len(known)] = unit(self.vectors[known]), True
        return tokens, valid

    def without_items(self) -> TextSpace:
        """The same words, for what reads texts and has vectors of items from elsewhere."""
        return TextSpace(self.words, self.vectors, self.items[:0])

    def save(self, folder: Path) -> None:
        """Writes `text_space.npz` into an existing folder."""
        save_arrays(folder / SPACE_FILE, words=self.words, vectors=self.vectors, items=self.items)

    @classmethod
    def load(cls, folder: Path) -> TextSpace:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        try:
            with np.load(folder / SPACE_FILE) as stored:
                return cls(stored["words"], stored["vectors"], stored["items"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ArtifactError(
                f"{folder / SPACE_FILE} is missing or damaged: {error}; run the step again that fitted it"
            ) from error


@dataclass(frozen=True, eq=False)
class GeneralWords:
    """Words with vectors of a general language.

    Attributes:
        words: beside those of titles, such as those that intents may have.
        vectors: words -> unit vectors [n, g].
        share: of this part in a text's vector, in (0, 1).
    """

    words: Collection[str]
    vectors: Callable[[Sequence[str]], np.ndarray]
    share: float


def _axes(matrix: Any, width: int) -> np.ndarray:
    """The first right singular vectors [width, columns]; their signs are fixed by the library."""
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(width, n_iter=7, random_state=0).fit(matrix).components_


def _with_general(
    names: np.ndarray, vectors: np.ndarray, idf: np.ndarray, titles: Sequence[str], general: GeneralWords, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """All words [V] and their vectors [V, width], from those of titles [n] and [n, d]."""
    more = sorted(set(general.words) - set(names.tolist()))
    words = np.concatenate([names, np.array(more, names.dtype if not more else None)])
    weights = np.concatenate([idf, np.full(len(more), idf.max())])
    of_titles = np.concatenate([vectors, np.zeros((len(more), vectors.shape[1]))])
    parts = (of_titles, general.vectors(words.tolist()) * np.sqrt(weights)[:, None])
    place = {word: row for row, word in enumerate(words.tolist())}
    rows = [[place[word] for word in dict.fromkeys(words_of(title))] for title in titles]
    sums = [np.stack([part[own].sum(0) for own in rows]) for part in parts]
    # each part has the length of its share in the mean title
    scales = [
        share / max(np.linalg.norm(each, axis=1).mean(), 1e-12)
        for share, each in zip((1 - general.share, general.share), sums, strict=True)
    ]
    both, of_items = (np.hstack([scale * each for scale, each in zip(scales, of, strict=True)]) for of in (parts, sums))
    axes = _axes(unit(of_items.astype(np.float32)), min(width, *of_items.shape))
    return words, both @ axes.T


def known_vectors(texts: Sequence[Sequence[str]], space: TextSpace | None, dimension: int) -> np.ndarray:
    """What a space knows of texts that are given as words, float32 [n, dimension].

    Args:
        texts: the words of each.
        space: of at most `dimension` numbers; None knows nothing.
        dimension: of the result, filled with zeros.
    """
    found = np.zeros((len(texts), dimension), np.float32)
    if space is not None:
        found[:, : space.dimension] = space.encode_words(texts)
    return found


def fit_space(titles: Sequence[str], texts: Iterable[str], dimension: int, share: float) -> TextSpace:
    """The space of a catalogue with vectors of general words.

    Args:
        titles: of all items, each with a letter or digit.
        texts: whose words have vectors, too, such as those of training queries.
        dimension: most numbers of a vector.
        share: of the general part in a text's vector; 0: titles alone.

    Raises:
        MissingExtraError: `share` is above 0, and the package of general words is not installed.
        InsufficientDataError: there is one item, or one word.
    """
    if not share:
        return TextSpace.fit(titles, dimension)
    words = general_words().union(*map(words_of, texts))
    return TextSpace.fit(titles, dimension, GeneralWords(words, general_vectors, share))


def frequent_words(texts: Sequence[str], least: int) -> set[str]:
    """The words that at least `least` of the texts have."""
    counts = Counter(word for text in texts for word in set(words_of(text)))
    return {word for word, count in counts.items() if count >= least}
