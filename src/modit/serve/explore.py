"""The content of the page *Explore*: seeds, and what their mean, a simple row and the model find, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.vectors import mean_of_rows
from modit.inference.items import TITLE, Items
from modit.inference.retrieval import SearchResult, search
from modit.release.bundle.examples import WorkedExample
from modit.release.bundle.release import SeedsRelease
from modit.serve.explore_map import Map, make_map
from modit.serve.filters import containing
from modit.serve.retrieve import SeedQuery
from modit.serve.schema import RequestError, RetrieveAnswer, RetrieveRequest, SeedSource
from modit.serve.settings import Limits
from modit.serve.task_items import probabilities_at, values_at
from modit.serve.tasks import Placed, Task

# Items that a title search shows at most, and that the page offers without one.
FOUND, OFFERED = 20, 6
# The lists side by side, in this order; the first is what the others are compared with, the last is the model's.
AVERAGE, SIMPLE, SERVED = "average", "simple", "served"


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

    @property
    def name(self) -> str:
        """Its title, or its id where it has none."""
        return self.title or self.item_id

    @property
    def both(self) -> bool:
        """Whether it is known to have the attribute and to be in the pattern."""
        return bool(self.attribute and self.pattern)


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

    def without(self, other: Listing) -> Listing:
        """The items that another list does not have."""
        theirs = {each.item_id for each in other.items}
        return Listing([each for each in self.items if each.item_id not in theirs])


@dataclass(frozen=True)
class Comparison:
    """Seeds, and the lists that they give.

    Attributes:
        seeds: As cards.
        lists: By `AVERAGE`, `SIMPLE` and `SERVED`, in this order; a release without a simple row has no such list.
        problem: Why there are no patterns; None where there are.
        share: Of the scored items that have the attribute, in [0, 1]; None where the catalogue has no verdicts.
        guidance: Scale of the model's query.
        reranked: Whether the lists of the model and the simple row were reranked.
        seed_source: Where vectors of seeds were read; None of lists as they were judged.
        map: None of lists as they were judged.
        judged: The worked example whose lists these are; None of lists that the service found now.
    """

    seeds: Listing
    lists: dict[str, Listing]
    problem: str | None
    share: float | None
    guidance: float
    reranked: bool
    seed_source: SeedSource | None = None
    map: Map | None = None
    judged: WorkedExample | None = None

    @property
    def moved_in(self) -> Listing:
        """What the model finds and the mean of the seeds does not."""
        return self.lists[SERVED].without(self.lists[AVERAGE])

    @property
    def moved_out(self) -> Listing:
        """What the mean of the seeds finds and the model does not."""
        return self.lists[AVERAGE].without(self.lists[SERVED])

    def moved(self, key: str) -> set[str]:
        """Ids of the items of a list that are marked: those that its counterpart does not have."""
        other = SERVED if key == AVERAGE else AVERAGE
        return {each.item_id for each in self.lists[key].without(self.lists[other]).items}


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


def titles_of(items: Items, item_ids: Sequence[str]) -> list[str]:
    """The title of each item; its id where it has none, or is not known."""
    titles = values_at(items.columns.get(TITLE), items.rows_of(item_ids))
    return [title or item_id for title, item_id in zip(titles, item_ids, strict=True)]


def compare(
    release: SeedsRelease,
    task: Task[RetrieveRequest, SeedQuery, RetrieveAnswer, SeedsRelease],
    patterns: np.ndarray | str,
    item_ids: Sequence[str],
    guidance: float | None,
    k: int,
    rerank: bool | None = None,
) -> Comparison:
    """Asks a release with seeds, and beside it the index with their mean and with the best simple row.

    Where the model's list is reranked, that of the simple row is reranked in the same way.

    Args:
        release: that answers.
        task: that reads the seeds and searches, as for the API.
        patterns: number of each item's pattern, int32 [N], or why that is not known.
        item_ids: of the seeds.
        guidance: scale; None takes that of the sampler.
        k: items of a list, at least 1.
        rerank: whether lists are reranked; None takes what the release says.

    Raises:
        RequestError: a value is not allowed.
    """
    asked = {"domain": release.source.domain, "seeds": {"item_ids": list(item_ids)}, "k": k, "guidance": guidance}
    asked["rerank"] = rerank
    [query] = task.read([Placed(RetrieveRequest.model_validate(asked))], release)
    [served] = task.search([query], release)
    items, seeds, seed_rows = release.items, query.query.seeds, query.rows
    mean = mean_of_rows(seeds, np.arange(len(seeds))[None])[0]
    indexed = seed_rows[seed_rows >= 0]
    found = {AVERAGE: SearchResult(mean, *search(items.index, mean, k, indexed))}
    if release.simple is not None:
        first = release.simple
        retriever = replace(query.reranker, first=first) if query.reranker else first
        [found[SIMPLE]] = retriever.retrieve([query.query])
    found[SERVED] = served
    shown = _Shown(release, patterns, indexed)
    lists = {key: shown.listing(items.ids_of(each.rows), each.rows, each.scores) for key, each in found.items()}
    return Comparison(
        seeds=shown.listing(item_ids, seed_rows),
        lists=lists,
        problem=shown.problem,
        share=shown.share,
        guidance=release.sampler.info.guidance if guidance is None else guidance,
        reranked=query.reranker is not None,
        seed_source=query.source,
        map=make_map(seeds, found, items.embeddings),
    )


def as_judged(release: SeedsRelease, patterns: np.ndarray | str, example: WorkedExample) -> Comparison:
    """The lists of a worked example, as they were judged.

    Args:
        release: that has the example.
        patterns: number of each item's pattern, int32 [N], or why that is not known.
        example: with lists.
    """
    rows = release.items.rows_of(example.seeds)
    shown = _Shown(release, patterns, rows)
    stage = release.second_stage
    return Comparison(
        seeds=shown.listing(example.seeds, rows),
        lists={key: shown.listing(ids, release.items.rows_of(ids)) for key, ids in _ordered(example.lists)},
        problem=shown.problem,
        share=shown.share,
        guidance=release.sampler.info.guidance,
        reranked=stage is not None and stage.enabled,
        judged=example,
    )


def _ordered(lists: Mapping[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    return ((key, lists[key]) for key in (AVERAGE, SIMPLE, SERVED))


class _Shown:
    """Turns rows of a release into items of the page."""

    def __init__(self, release: SeedsRelease, patterns: np.ndarray | str, seeds: np.ndarray) -> None:
        self._release, self._verdicts = release, release.items.verdicts(release.source.domain)
        self.problem = patterns if isinstance(patterns, str) else None
        inside = None if isinstance(patterns, str) or not len(seeds) else _in_main_pattern(patterns, seeds)
        self._inside = inside

    @property
    def share(self) -> float | None:
        return None if self._verdicts is None else pc.mean(self._verdicts.cast(pa.int8())).as_py()

    def listing(self, ids: Sequence[str], rows: np.ndarray, scores: np.ndarray | None = None) -> Listing:
        titles, attributes = (
            values_at(each, rows) for each in (self._release.items.columns.get(TITLE), self._verdicts)
        )
        chances = probabilities_at(self._release, rows, attributes)
        inside = [None if self._inside is None or row < 0 else bool(self._inside[row]) for row in rows]
        numbers = [None] * len(rows) if scores is None else scores.tolist()
        return Listing(
            [ShownItem(*each) for each in zip(ids, titles, numbers, attributes, chances, inside, strict=True)]
        )


def _in_main_pattern(patterns: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Whether items are in the pattern that most seeds are in, the first of several, bool [N]."""
    return patterns == np.bincount(patterns[seeds]).argmax()
