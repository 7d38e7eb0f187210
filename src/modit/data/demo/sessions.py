"""Draws the dated sessions of a demo world: mostly inside one pattern, weighted by popularity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modit.data.demo.parameters import DemoParameters

# Part of the world's definition, as for items.
CHUNK_SESSIONS = 20_000
SESSION_STREAM = 2
_LONGEST = 40
_MEAN_LENGTH = 12
_HOME_SHARE, _FAMILY_SHARE = 0.82, 0.14
_SECONDS_BETWEEN = (5, 120)
_SECONDS_IN_DAY = 86_400


class Shelf:
    """Items in the order of super-pattern and pattern, with cumulative popularity.

    Patterns, super-patterns and the whole world are then ranges of one cumulative sum, and a popularity-weighted draw
    from any of them is one binary search. Memory: 12 bytes an item, and three times that while it is built.

    Args:
        patterns: int32 [N].
        popularity: float32 [N], positive.
        super_pattern: int64 [P].
    """

    def __init__(self, patterns: np.ndarray, popularity: np.ndarray, super_pattern: np.ndarray) -> None:
        rank = np.empty(len(super_pattern), dtype=np.int32)
        shelf_order = np.argsort(super_pattern, kind="stable")
        rank[shelf_order] = np.arange(len(super_pattern))
        self._order = np.argsort(rank[patterns], kind="stable").astype(np.int32)
        self._cumulative = np.cumsum(popularity[self._order], dtype=np.float64)
        counts = np.bincount(rank[patterns], minlength=len(super_pattern))
        mass = np.concatenate([[0.0], self._cumulative])
        self._pattern_edges = mass[np.concatenate([[0], np.cumsum(counts)])]
        first_of_super = np.searchsorted(super_pattern[shelf_order], np.arange(super_pattern.max() + 2))
        self._super_edges = self._pattern_edges[first_of_super]
        self._super_of_rank = super_pattern[shelf_order]

    def draw(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws one item for each place of each session, int32 [sum(lengths)], session by session.

        A session has a home pattern, drawn by popularity; a place is filled from the home, its super-pattern, or
        anywhere.
        """
        total = self._cumulative[-1]
        homes = np.searchsorted(self._pattern_edges, rng.random(len(lengths)) * total, side="right") - 1
        home = np.repeat(np.minimum(homes, len(self._super_of_rank) - 1), lengths)
        family = self._super_of_rank[home]
        where = rng.random(len(home))
        at_home, in_family = where < _HOME_SHARE, where < _HOME_SHARE + _FAMILY_SHARE
        low = np.where(at_home, self._pattern_edges[home], np.where(in_family, self._super_edges[family], 0.0))
        high = np.where(
            at_home, self._pattern_edges[home + 1], np.where(in_family, self._super_edges[family + 1], total)
        )
        found = np.searchsorted(self._cumulative, low + rng.random(len(home)) * (high - low), side="right")
        return self._order[np.minimum(found, len(self._order) - 1)]


@dataclass(frozen=True)
class SessionChunk:
    """Some sessions of a day, as rows in the order of time.

    Attributes:
        session: int64 [T], number of the session within the day.
        item: int32 [T].
        second: int64 [T], seconds since midnight; strictly increasing within a session.
    """

    session: np.ndarray
    item: np.ndarray
    second: np.ndarray


def sessions_of_day(parameters: DemoParameters, day: int) -> int:
    """Number of sessions on a day; the days add up to `sessions_per_item * items`."""
    total = round(parameters.sessions_per_item * parameters.items)
    return total * (day + 1) // parameters.days - total * day // parameters.days


def draw_sessions(parameters: DemoParameters, shelf: Shelf, day: int) -> Iterator[SessionChunk]:
    """Draws the sessions of a day in chunks; each depends on parameters, day and chunk number only."""
    count = sessions_of_day(parameters, day)
    for chunk, first in enumerate(range(0, count, CHUNK_SESSIONS)):
        rng = parameters.generator(SESSION_STREAM, day, chunk)
        lengths = np.minimum(1 + rng.geometric(1 / (_MEAN_LENGTH - 1), min(CHUNK_SESSIONS, count - first)), _LONGEST)
        items = shelf.draw(lengths, rng)
        session = np.repeat(first + np.arange(len(lengths)), lengths)
        second = _seconds(lengths, rng)
        order = np.argsort(second, kind="stable")
        yield SessionChunk(session[order], items[order], second[order])


def _seconds(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    latest = _SECONDS_IN_DAY - _LONGEST * _SECONDS_BETWEEN[1]
    starts = rng.integers(0, latest, len(lengths))
    elapsed = np.cumsum(rng.integers(*_SECONDS_BETWEEN, lengths.sum(), endpoint=True))
    ends = np.cumsum(lengths)
    before = np.concatenate([[0], elapsed[ends - 1][:-1]])
    return np.repeat(starts - before, lengths) + elapsed
