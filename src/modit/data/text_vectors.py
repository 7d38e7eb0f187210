"""Vectors of items that have texts and no embeddings: TF-IDF, reduced by a truncated SVD (latent semantic analysis)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from modit.data.vectors import unit

WIDTH = 64
# Words and numbers of any script.
_WORD = r"[^\W_]+"


def text_vectors(texts: Sequence[str], width: int = WIDTH) -> np.ndarray:
    """Unit vectors that are near where texts share rare words, float32 [N, d].

    Args:
        texts: one for each item, with at least one letter or digit each.
        width: most numbers of a vector; fewer where there are fewer items or words.

    Returns:
        The same texts in the same order give the same bytes. A text that shares nothing with any other and falls out
        of the SVD has the unit mean of all vectors.
    """
    weights = TfidfVectorizer(token_pattern=_WORD, sublinear_tf=True, strip_accents="unicode").fit_transform(texts)
    width = min(width, *weights.shape)
    if width == 1:  # one item, or one word
        return np.ones((len(texts), 1), np.float32)
    with threadpool_limits(1):
        vectors = TruncatedSVD(width, n_iter=7, random_state=0).fit_transform(weights)
    lost = np.linalg.norm(vectors, axis=1) < 1e-9  # noqa: PLR2004 - rounding
    vectors[lost] = vectors.sum(0) + (vectors.sum(0) == 0).all()
    return unit(vectors)
