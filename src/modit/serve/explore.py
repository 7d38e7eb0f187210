"""What the page *Explore* shows: seeds, what averaging them finds, what the generated query finds, and a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from modit.inference.items import TITLE, Items
from modit.inference.retrieval import retrieve, search
from modit.release.bundle.loading import Release
from modit.serve.filters import containing
from modit.serve.item_annotations import ItemAnnotations, annotations_of
from modit.serve.queries import query_of
from modit.serve.schema import RequestError, RetrieveRequest
from modit.serve.settings import Limits

FOUND, MOST_K = 20, 50
WIDTH, HEIGHT, _MARGIN = 640, 420, 28  # of the map, in pixels


class Point(NamedTuple):
    """A place on the map, in pixels from its upper left."""

    x: float
    y: float


@dataclass(frozen=True)
class Shown:
    """An item on the page.

    Attributes:
        item_id: of it.
        title: or None.
        score: inner product with the query of its list; None for a seed.
        attribute: whether it has the attribute; None where that is not known.
        pattern: whether it is in the pattern of the seeds; None where that is not known.
        place: on the map.
    """

    item_id: str
    title: str | None
    score: float | None
    attribute: bool | None
    pattern: bool | None
    place: Point


@dataclass(frozen=True)
class Listing:
    """A list of items, best first."""

    items: list[Shown]

    def count(self, attribute: bool = False, pattern: bool = False) -> int | None:
        """How many have the attribute, are in the pattern, or both; None where that is not known."""
        marks = [[each.attribute] * attribute + [each.pattern] * pattern for each in self.items]
        return None if any(None in each for each in marks) else sum(all(each) for each in marks)


@dataclass(frozen=True)
class Comparison:
    """Seeds and what two queries find.

    Attributes:
        seeds: chosen.
        average: what the mean of the seeds finds.
        generated: what the generated query finds.
        average_at: place of the mean on the map.
        generated_at: place of the generated query.
        cosine: of the two queries.
        variance: share of the variance that the map shows.
        share: of all items that have the attribute, or None.
        guidance: that was used.
        problem: why there are no patterns, or None.
        label: of the version that answered.
    """

    seeds: Listing
    average: Listing
    generated: Listing
    average_at: Point
    generated_at: Point
    cosine: float
    variance: float
    share: float | None
    guidance: float
    problem: str | None
    label: str


@dataclass(frozen=True)
class Found:
    """Items that a title search offers as seeds."""

    items: list[tuple[str, str | None]] = field(default_factory=list)
    more: bool = False


def find(items: Items, text: str, limits: Limits) -> Found:
    """The first items with a text in their title, or with this very id; the first of all items for no text.

    Raises:
        RequestError: the text is too long.
    """
    if len(text) > limits.text:
        raise RequestError("search", text, f"at most {limits.text} characters")
    rows = items.rows_of([text])
    rows = rows[rows >= 0]
    titles = items.columns.get(TITLE)
    if not text or titles is None:
        rows = np.concatenate([rows, np.arange(0 if text else min(FOUND + 1, len(items.index)))])
    else:
        named = pc.indices_nonzero(pc.fill_null(containing(titles, text.encode(errors="replace").decode()), False))
        rows = np.concatenate([rows, named.slice(0, FOUND + 1).to_numpy().astype(np.int64)])
    shown = rows[:FOUND]
    return Found(list(zip(items.ids_of(shown), items.titles_of(shown), strict=True)), len(rows) > FOUND)


def compare(release: Release, item_ids: Sequence[str], guidance: float | None, k: int, limits: Limits) -> Comparison:
    """Asks a release with seeds, and beside it the index with their mean.

    Args:
        release: that answers.
        item_ids: of the seeds.
        guidance: scale; None takes that of the sampler.
        k: items of a list.
        limits: of a request.

    Raises:
        RequestError: a value is not allowed.
    """
    if not 1 <= k <= MOST_K:
        raise RequestError("k", k, f"1..{MOST_K}")
    seeds = {"item_ids": list(item_ids)}
    asked = RetrieveRequest.model_validate(
        {"domain": release.source.domain, "seeds": seeds, "k": k, "guidance": guidance}
    )
    question = query_of(asked, release, limits)
    items, own = release.items, question.exclude
    generated = retrieve(release.sampler, items.index, question)
    mean = question.seeds.mean(0)
    average = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    rows, scores = search(items.index, average, k, own)
    groups = [own, rows, generated.rows]
    vectors = [np.asarray(items.embeddings[group], np.float32) for group in groups]
    places, variance = pca_projection(np.concatenate([*vectors, average[None], generated.query[None]]))
    marks = annotations_of(release)
    pattern, listings, start = marks.pattern_of(own), [], 0
    for group, found in zip(groups, (None, scores, generated.scores), strict=True):
        listings.append(_listing(items, marks, pattern, group, found, places[start : start + len(group)]))
        start += len(group)
    of_seeds, of_average, of_generated = listings
    return Comparison(
        seeds=of_seeds,
        average=of_average,
        generated=of_generated,
        average_at=places[-2],
        generated_at=places[-1],
        cosine=float(average @ generated.query),
        variance=variance,
        share=marks.share(),
        guidance=release.sampler.info.guidance if guidance is None else guidance,
        problem=marks.problem,
        label=release.source.label,
    )


def _listing(
    items: Items,
    marks: ItemAnnotations,
    pattern: int | None,
    rows: np.ndarray,
    scores: np.ndarray | None,
    places: list[Point],
) -> Listing:
    found = [None] * len(rows) if scores is None else scores.tolist()
    marked = (marks.attribute(rows), marks.in_pattern(rows, pattern))
    columns = (items.ids_of(rows), items.titles_of(rows), found, *marked, places)
    return Listing([Shown(*each) for each in zip(*columns, strict=True)])


def pca_projection(vectors: np.ndarray) -> tuple[list[Point], float]:
    """Principal components of the vectors [n, d], scaled to the map with equal units on both axes.

    Returns:
        n places, and the share of the vectors' variance that they show, in [0, 1].
    """
    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2].sum(1, keepdims=True) < 0, -1, 1)  # the sign is anyone's: fixed
    flat = np.zeros((len(vectors), 2))
    flat[:, : len(axes)] = centred @ axes.T
    low, high = flat.min(0), flat.max(0)
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (room / np.maximum(high - low, 1e-9)).min()
    places = (flat - (low + high) / 2) * scale + np.array([WIDTH, HEIGHT]) / 2
    variance = float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-12))
    return [Point(round(float(x), 1), round(HEIGHT - float(y), 1)) for x, y in places], variance
