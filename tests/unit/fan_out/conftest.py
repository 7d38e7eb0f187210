"""A small world of intents: things of some colours, and sets of items of one thing in several colours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.splits import TEST, TRAIN, VALIDATION
from modit.data.text_space import TextSpace, frequent_words
from modit.fan_out.intents import IntentSets
from modit.fan_out.policy import FanOutPolicy, PolicyConfig

COLOURS = ("red", "green", "blue", "black", "white", "brown")
THINGS = ("paint", "brush", "hammer", "ladder", "faucet", "drill", "tile", "lamp")


@pytest.fixture(scope="session")
def titles() -> list[str]:
    return [f"{colour.title()} {thing}" for colour, thing in itertools.product(COLOURS, THINGS)]


@pytest.fixture(scope="session")
def judged() -> JudgedQueries:
    """Each thing is asked for four times, in three colours each time."""
    texts, items = [], []
    for thing, first in itertools.product(range(len(THINGS)), range(4)):
        texts.append(f"some {THINGS[thing]}")
        items.append([((first + n) % len(COLOURS)) * len(THINGS) + thing for n in range(3)])
    split = np.array([TRAIN, TRAIN, VALIDATION, TEST] * len(THINGS), np.int8)
    offsets = np.arange(len(texts) + 1) * 3
    rows = np.array(items, np.int32).ravel()
    return JudgedQueries(np.arange(len(texts)).astype(str), np.array(texts), split, offsets, rows, np.ones(len(rows)))


@pytest.fixture(scope="session")
def space(titles) -> TextSpace:
    return TextSpace.fit(titles, 8)


@pytest.fixture(scope="session")
def intents(judged, space) -> IntentSets:
    return IntentSets.of(judged, QueryPart.TRAIN, space, 1.0, 4)


@pytest.fixture
def policy(space, titles) -> FanOutPolicy:
    config = PolicyConfig(0, space.dimension, queries=3, words=2, width=16, depth=1, heads=2, dropout=0.1)
    return FanOutPolicy.over(space, frequent_words(titles, 1), config, 0)
