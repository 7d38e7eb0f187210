"""Settings that BM25 is tried with, wherever it is a row."""

from __future__ import annotations

from modit.data.stems import NO_STEMMER, StemmerName
from modit.evaluate.task import Setting

# Of BM25 in what is served: the share that cosines have in a score. Judged items alone cannot tell what a greater one
# loses among those that nobody judged.
WEIGHTS = (0.3, 0.5, 0.7)


def bm25_grid(stemmer: StemmerName) -> list[Setting]:
    """Settings of BM25: saturation of a word's count, how much a title's length counts, and a stemmer or none."""
    each = dict.fromkeys((stemmer, NO_STEMMER))
    return [{"k1": k1, "b": b, "stemmer": name} for name in each for k1 in (0.6, 1.2) for b in (0.3, 0.75)]
