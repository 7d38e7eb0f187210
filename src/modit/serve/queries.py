"""From a request to a question: ids become vectors and rows, and what is not allowed is refused by name."""

from __future__ import annotations

import numpy as np

from modit.inference.retrieval import Query
from modit.release.bundle.loading import Release
from modit.serve.filters import filters_of
from modit.serve.schema import RequestError, RetrieveRequest, Seeds
from modit.serve.settings import Limits

_SEEDS = "either item_ids or vectors"
_LENGTHS = (1e-6, 1e6)  # far from where squares of float32 vanish or overflow


def query_of(request: RetrieveRequest, release: Release, limits: Limits) -> Query:
    """Reads a request against the release that will answer it.

    Raises:
        RequestError: a value is not allowed here.
    """
    info, items = release.sampler.info, release.items
    _expect_range("k", request.k, 1, min(limits.k, len(items.index)))
    if request.guidance is not None:
        _expect_range("guidance", request.guidance, 0, limits.guidance)
    _expect_range("number of exclude_item_ids", len(request.exclude_item_ids), 0, limits.exclude)
    seeds, own = _seeds(request.seeds, release)
    exclude = items.rows_of(request.exclude_item_ids)
    unwanted = np.unique(np.concatenate([own, exclude[exclude >= 0]]))
    allowed = filters_of(items).mask(request.filter, limits)
    rounds = _rounds(request.samples, info.samples, limits.rounds)
    return Query(seeds, request.k, request.guidance, rounds, unwanted, allowed)


def _seeds(seeds: Seeds, release: Release) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [m, d], and the rows that they are from."""
    if (seeds.item_ids is None) == (seeds.vectors is None):
        raise RequestError("seeds", "both" if seeds.vectors is not None else "neither", _SEEDS)
    name = "item_ids" if seeds.vectors is None else "vectors"
    given = seeds.item_ids if seeds.vectors is None else seeds.vectors
    _expect_range(f"number of seeds.{name}", len(given or ()), 1, release.sampler.info.maximum_seeds)
    if seeds.vectors is not None:
        return _vectors(seeds.vectors, release.sampler.info.dimension), np.empty(0, np.int64)
    rows = _rows(seeds.item_ids or [], release)
    return np.asarray(release.items.embeddings[rows], np.float32), rows


def _rows(item_ids: list[str], release: Release) -> np.ndarray:
    rows = release.items.rows_of(item_ids)
    unknown = [each for each, row in zip(item_ids, rows, strict=True) if row < 0]
    if unknown:
        raise RequestError("seeds.item_ids", unknown, f"ids of the index of {release.source.label}")
    if len(np.unique(rows)) < len(rows):
        raise RequestError("seeds.item_ids", item_ids, "each id once")
    return rows


def _vectors(vectors: list[list[float]], dimension: int) -> np.ndarray:
    for number, vector in enumerate(vectors):
        if len(vector) != dimension:
            raise RequestError(f"seeds.vectors.{number}", f"{len(vector)} numbers", f"{dimension} numbers")
    found = np.array(vectors)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(found, axis=1)
    for number, length in enumerate(lengths):
        _expect_range(f"length of seeds.vectors.{number}", length, *_LENGTHS)
    return found.astype(np.float32)


def _rounds(samples: int | None, each: int, most: int) -> int:
    """How often the sampler runs for so many samples; it averages `each` in a run."""
    rounds, rest = divmod(each if samples is None else samples, each)
    if rest or not 1 <= rounds <= most:
        raise RequestError("samples", samples, f"multiples of {each} in {each}..{most * each}")
    return rounds


def _expect_range(field: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise RequestError(field, value, f"{least:g}..{most:g}")
