"""A small world of texts: colours and things, with queries whose judged items share both, one or no word."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from modit.data.judged_queries import JudgedQueries
from modit.data.splits import TEST, TRAIN, VALIDATION

COLOURS = ("red", "green", "blue", "black", "white", "brown")
THINGS = ("paint", "brush", "hammer", "ladder", "faucet", "drill", "tile", "lamp")


@pytest.fixture(scope="session")
def titles() -> list[str]:
    return [f"{colour.title()} {thing} 1/2 in." for colour, thing in itertools.product(COLOURS, THINGS)]


@pytest.fixture(scope="session")
def judged() -> JudgedQueries:
    """A query for each pair: the item itself (3), the same thing in another colour (2), another thing (1)."""
    texts, items = [], []
    for colour, thing in itertools.product(range(len(COLOURS)), range(len(THINGS))):
        texts.append(f"{THINGS[thing]}s {COLOURS[colour]}")
        other = (colour + 1) % len(COLOURS)
        items.append((colour * 8 + thing, other * 8 + thing, colour * 8 + (thing + 1) % 8))
    split = np.array([TRAIN, TRAIN, VALIDATION, TEST] * (len(texts) // 4), np.int8)
    rows = np.array(items, np.int32).ravel()
    offsets = np.arange(len(texts) + 1) * 3
    relevance = np.tile(np.array([3.0, 2.0, 1.0], np.float32), len(texts))
    return JudgedQueries(np.arange(len(texts)).astype(str), np.array(texts), split, offsets, rows, relevance)
