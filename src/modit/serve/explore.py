"""The content of the page *Explore*: seeds, results of their mean and of the generated query, and a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.vectors import mean_of_rows
from modit.inference.items import TITLE, Items
from modit.inference.retrieval import search
from modit.release.bundle.loading import SeedsRelease, UntrainedFacts
from modit.serve.filters import containing
from modit.serve.retrieve import RetrieveTask
from modit.serve.schema import RequestError, RetrieveRequest, SeedSource, expect_range
from modit.serve.settings import Limits
from modit.serve.tasks import Placed, probabilities_at, values_at

# Items that a title search shows at most, that the page offers without one, and the longest list of results.
FOUND, OFFERED, MOST_K = 20, 6, 50
WIDTH, HEIGHT, _MARGIN = 640, 420, 28  # of the map, in pixels


class Point(NamedTuple):
    """A place on the map, in pixels from its upper left corner."""

    x: float
    y: float


@dataclass(frozen=True)
class ShownItem:
    """An item on the page. `attribute` and `pattern` are None where they are not known; a seed has no score.

    `chance` is how likely an item has the attribute, in [0, 1]; None where the verdict is stored, or nothing tells.
    """

    item_id: str
    title: str | None
    score: float | None
    attribute: bool | None
    chance: float | None
    pattern: bool | None
    place: Point


@dataclass(frozen=True)
class Listing:
    """A list of items, best first."""

    items: list[ShownItem]

    def count(self, attribute: bool = False, pattern: bool = False) -> int | None:
        """How many items have the attribute, are in the pattern, or both.

        Returns:
            The number; None where one of the two is known for no item.
        """
        wanted = ["attribute"] * attribute + ["pattern"] * pattern
        if any(all(getattr(each, name) is None for each in self.items) for name in wanted):
            return None
        return sum(all(getattr(each, name) for name in wanted) for each in self.items)

    @property
    def unscored(self) -> int:
        """How many items the scorer has not judged."""
        return sum(each.attribute is None for each in self.items)


@dataclass(frozen=True)
class Comparison:
    """Seeds, the results of their mean and of the generated query, and where all of them lie on the map.

    `cosine` is that of the two queries, `variance` the share that the map shows, `share` that of the scored items that
    have the attribute; `problem` says why there are no patterns; `reranked` whether the generated query's list was;
    `untrained` what is known of a domain that nothing is trained for.
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
    seed_source: SeedSource | None
    label: str
    reranked: bool
    untrained: UntrainedFacts | None


@dataclass(frozen=True)
class TitleMatches:
    """Items that the page offers as seeds, id and title, and whether there are more."""

    items: list[tuple[str, str | None]] = field(default_factory=list)
    more: bool = False


def find(items: Items, text: str, limits: Limits) -> TitleMatches:
    """Finds items to offer as seeds.

    Args:
        items: of the release.
        text: that the title contains, or an item's very id; empty offers the first items.
        limits: of a request.

    Raises:
        RequestError: the text is too long.
    """
    if len(text) > limits.text:
        raise RequestError("search", text, f"at most {limits.text} characters")
    titles, most = items.columns.get(TITLE), FOUND if text else OFFERED
    rows = np.arange(0 if text else min(most + 1, len(items.index)))
    if text:
        rows = items.rows_of([text])
        rows = rows[rows >= 0]
        if titles is not None:
            named = pc.indices_nonzero(pc.fill_null(containing(titles, text.encode(errors="replace").decode()), False))
            rows = np.concatenate([rows, named.slice(0, FOUND + 1).to_numpy().astype(np.int64)])
    shown = rows[:most]
    return TitleMatches(list(zip(items.ids_of(shown), items.titles_of(shown), strict=True)), len(rows) > most)


def compare(
    release: SeedsRelease,
    task: RetrieveTask,
    patterns: np.ndarray | str,
    item_ids: Sequence[str],
    guidance: float | None,
    k: int,
    rerank: bool | None = None,
) -> Comparison:
    """Asks a release with seeds, and beside it the index with their mean.

    Args:
        release: that answers.
        task: that reads the seeds and searches, as for the API.
        patterns: number of each item's pattern, int32 [N], or why that is not known.
        item_ids: of the seeds.
        guidance: scale; None takes that of the sampler.
        k: items of a list.
        rerank: whether the list of the generated query is reranked; None takes what the release says.

    Raises:
        RequestError: a value is not allowed.
    """
    expect_range("k", k, 1, MOST_K)
    asked = {"domain": release.source.domain, "seeds": {"item_ids": list(item_ids)}, "k": k, "guidance": guidance}
    asked["rerank"] = rerank
    [query] = task.read([Placed(RetrieveRequest.model_validate(asked))], release)
    [generated] = task.search([query], release)
    items, seeds, seed_rows = release.items, query.query.seeds, query.rows
    average = mean_of_rows(seeds, np.arange(len(seeds))[None])[0]
    indexed = seed_rows[seed_rows >= 0]
    rows, scores = search(items.index, average, k, indexed)
    found = [np.asarray(items.embeddings[each], np.float32) for each in (rows, generated.rows)]
    places, variance = pca_projection(np.concatenate([seeds, *found, average[None], generated.query[None]]))
    left, verdicts = iter(places), items.verdicts(release.source.domain)
    pattern = _main_pattern(patterns, indexed)

    def listing(ids: Sequence[str], rows: np.ndarray, scores: Sequence[float | None]) -> Listing:
        titles, attributes = (values_at(column, rows) for column in (items.columns.get(TITLE), verdicts))
        chances = probabilities_at(release, rows, attributes)
        inside = [None if pattern is None or row < 0 else bool(patterns[row] == pattern) for row in rows]
        listed = zip(ids, titles, scores, attributes, chances, inside, islice(left, len(rows)), strict=True)
        return Listing([ShownItem(*each) for each in listed])

    return Comparison(
        seeds=listing(item_ids, seed_rows, [None] * len(item_ids)),
        average=listing(items.ids_of(rows), rows, scores.tolist()),
        generated=listing(items.ids_of(generated.rows), generated.rows, generated.scores.tolist()),
        average_at=places[-2],
        generated_at=places[-1],
        cosine=float(average @ generated.query),
        variance=variance,
        share=None if verdicts is None else pc.mean(verdicts.cast(pa.int8())).as_py(),
        guidance=release.sampler.info.guidance if guidance is None else guidance,
        problem=patterns if isinstance(patterns, str) else None,
        seed_source=query.source,
        label=release.label,
        reranked=query.reranker is not None,
        untrained=release.untrained,
    )


def _main_pattern(patterns: np.ndarray | str, seeds: np.ndarray) -> int | None:
    """The pattern that most seeds are in, the first of several; None where it is not known."""
    return None if isinstance(patterns, str) or not len(seeds) else int(np.bincount(patterns[seeds]).argmax())


def pca_projection(vectors: np.ndarray) -> tuple[list[Point], float]:
    """Projects vectors onto their first two principal components, with equal units on both axes of the map.

    Args:
        vectors: float [n, d].

    Returns:
        n places, and the share of the vectors' variance that they show, in [0, 1].
    """
    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    # An axis has no sign of its own; this fixes one.
    axes = axes[:2] * np.where(axes[:2].sum(1, keepdims=True) < 0, -1, 1)
    flat = np.zeros((len(vectors), 2))
    flat[:, : len(axes)] = centred @ axes.T
    low, high = flat.min(0), flat.max(0)
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (room / np.maximum(high - low, 1e-9)).min()
    places = (flat - (low + high) / 2) * scale + np.array([WIDTH, HEIGHT]) / 2
    variance = float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-12))
    return [Point(round(float(x), 1), round(HEIGHT - float(y), 1)) for x, y in places], variance
