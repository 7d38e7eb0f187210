"""Item neighbours beside a retriever: what they are, and that validation says how much they count."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.data.sessions import Sessions, training_counts
from modit.index.item_codes import ItemCodes
from modit.semantic_ids.neighbours import fit_neighbours, item_neighbours
from modit.semantic_ids.params import NeighbourParams, RetrieverParams
from modit.semantic_ids.retriever import torch_retriever
from modit.semantic_ids.training import new_decoder

ITEMS = 40
LOGGER = logging.getLogger("test")
PARAMS = NeighbourParams(shrinkages=(0.0,), decays=(0.4,), weights=(0.0, 1.0, 4.0))


def sessions_of(partner):
    """Sessions in which each item is followed by its partner: three pairs, and an item that is the test."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(ITEMS, 4, replace=False) for _ in range(400)]
    rows = [[a, partner[a], b, partner[b], c, partner[c], last] for a, b, c, last in drawn]
    return Sessions(Sequences(np.arange(401) * 7, np.concatenate(rows).astype(np.int32)))


def untrained(sessions):
    """A network that knows nothing."""
    rows = np.stack([np.arange(ITEMS) // 8, np.arange(ITEMS) % 8], 1).astype(np.int32)
    codes = ItemCodes(rows, (5, 8), training_counts(sessions.training, ITEMS), np.arange(ITEMS)[::-1] / ITEMS)
    params = RetrieverParams(width=16, depth=1, heads=2, dense=False)
    return torch_retriever(new_decoder(codes, params, 0), codes)


@pytest.fixture(scope="module")
def pairs():
    return sessions_of(np.random.default_rng(1).permutation(ITEMS))


def test_the_nearest_are_kept_and_of_equal_ones_the_first_by_ties():
    rows = [[0, 1, 2], [0, 1, 2], [0, 3, 1]]
    training = Sequences(np.arange(4) * 3, np.concatenate(rows).astype(np.int32))
    for ties, nearest_of_2 in (([0.0, 0.9, 0.1, 0.5], 0), ([0.9, 0.0, 0.1, 0.5], 1)):
        near = item_neighbours(training, np.array(ties), 1, 0.0)
        assert near.items.tolist() == [1, 0, nearest_of_2, nearest_of_2]  # 2 and 3 are as near to 0 as to 1
        np.testing.assert_allclose(near.similarities[:3], [1, 1, 2 / 6**0.5], rtol=1e-6)


def test_where_sessions_say_what_comes_next_neighbours_count_and_lift_validation(pairs):
    retriever = untrained(pairs)
    found, content = fit_neighbours(retriever, pairs, PARAMS, True, 0, LOGGER)
    ndcg = {each["weight"]: each["ndcg_at_10"] for each in content["settings"]}
    assert found.weight == content["chosen"]["weight"] > 0
    assert ndcg[found.weight] == max(ndcg.values()) > ndcg[0.0] + 0.1
    # the figure is that of what the retriever answers
    histories = [pairs.sequences[row][:-2].astype(np.int64) for row in range(400)]
    answers = replace(retriever, neighbours=found).recommend(histories, 10)
    gains = [1 / np.log2(2 + np.flatnonzero(each.rows == pairs.sequences[row][-2])) for row, each in enumerate(answers)]
    assert np.mean([each.sum() for each in gains]) == pytest.approx(ndcg[found.weight], abs=1e-5)


def test_where_the_votes_are_wrong_they_are_left_out(pairs):
    rng = np.random.default_rng(2)
    items = pairs.sequences.items.copy().reshape(-1, 7)
    items[:, 5] = items[:, :5][np.arange(400), rng.integers(0, 5, 400)]  # a repeat is what comes next, and not allowed
    repeats = Sessions(Sequences(pairs.sequences.offsets, items.reshape(-1)))
    found, content = fit_neighbours(untrained(repeats), repeats, PARAMS, False, 100, LOGGER)
    assert found.weight == content["chosen"]["weight"] == 0  # nothing is found by any setting: the first one is taken


def test_sessions_without_a_validation_item_are_refused():
    short = Sessions(Sequences(np.arange(4) * 2, np.arange(6, dtype=np.int32)))
    with pytest.raises(InsufficientDataError, match="no session has a validation item"):
        fit_neighbours(untrained(sessions_of(np.arange(ITEMS))), short, PARAMS, True, 0, LOGGER)
