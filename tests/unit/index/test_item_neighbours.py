"""Neighbours of items: how they vote after a session, and what their votes do to the items that IDs found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.core.errors import ArtifactError
from modit.index.beam_search import Beams
from modit.index.item_codes import ItemCodes
from modit.index.item_neighbours import LEAST_SHARE, NEIGHBOURS_FILE, ItemNeighbours, Votes
from modit.index.item_ranking import ranked_items
from modit.index.item_similarity import with_stand_ins

ITEMS = 60
SESSION = st.lists(st.integers(0, ITEMS - 1), max_size=12).map(lambda rows: np.array(rows, np.int64))
NOTHING = np.empty(0, np.int64)


def neighbours_of(decay=0.5, weight=1.0, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 8, ITEMS)
    items = np.concatenate([rng.choice(ITEMS, count, replace=False) for count in counts]).astype(np.int32)
    similarities = rng.uniform(0.1, 1, len(items)).astype(np.float32)
    return ItemNeighbours(np.concatenate([[0], np.cumsum(counts)]), items, similarities, decay, weight)


def dense(near):
    matrix = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        part = slice(near.offsets[item], near.offsets[item + 1])
        matrix[item, near.items[part]] = near.similarities[part]
    return matrix


@pytest.fixture(scope="module")
def codes():
    rows = np.stack([np.arange(ITEMS) // 8, np.arange(ITEMS) % 8], 1).astype(np.int32)
    return ItemCodes(rows, (8, 8), np.ones(ITEMS, np.int64), np.arange(ITEMS) / ITEMS)


@given(SESSION, st.sampled_from([1.0, 0.7, 0.4]))
def test_votes_are_the_weighted_sum_of_similarities_as_shares(session, decay):
    near = neighbours_of(decay)
    expected = sum((decay**age * dense(near)[item] for age, item in enumerate(session[::-1])), np.zeros(ITEMS))
    votes = near.votes(session)
    shares = np.zeros(ITEMS)
    shares[votes.rows] = votes.shares
    np.testing.assert_allclose(shares, expected / max(expected.sum(), 1e-12), atol=1e-6)
    assert (np.diff(votes.rows) > 0).all()
    np.testing.assert_allclose(votes.scores(np.arange(ITEMS)), np.log(shares + LEAST_SHARE), atol=1e-6)


def test_an_item_that_no_session_has_gets_the_mean_votes_of_the_items_of_its_id_and_votes_as_they_do(codes):
    near = neighbours_of(1.0)
    # IDs of the new items: that of items 8 and 9, which both have; one whose first code alone is known
    more = codes.extended(np.array([[1, 0], [2, 7]], np.int32), np.array([0.5, 0.6]))
    more = replace(more, codes=np.where(np.arange(ITEMS + 2)[:, None] == 9, more.codes[8], more.codes))
    known = np.arange(len(more)) < ITEMS
    known[[23, 40]] = False  # 23 has the ID of the second new item, 40 is in the catalogue and no session has it
    found = with_stand_ins(near, more, known)
    before, after = dense(near), np.zeros((ITEMS + 2, ITEMS + 2))
    for item in range(ITEMS + 2):
        part = slice(found.offsets[item], found.offsets[item + 1])
        after[item, found.items[part]] = found.similarities[part]
    both = known[:ITEMS]
    np.testing.assert_allclose(after[:ITEMS, :ITEMS][np.ix_(both, both)], before[np.ix_(both, both)], rtol=1e-6)
    for new, stand_ins in ((ITEMS, [8, 9]), (ITEMS + 1, range(16, 23)), (23, range(16, 23)), (40, range(41, 48))):
        for other in (3, 30, 59):
            assert after[other, new] == pytest.approx(before[other, list(stand_ins)].mean(), abs=1e-6)
            assert after[new, other] == pytest.approx(before[list(stand_ins), other].mean(), abs=1e-6)


def test_of_many_items_that_no_session_has_each_item_keeps_the_nearest_and_of_equal_ones_those_of_least_ties():
    items = 600
    ties = np.random.default_rng(0).permutation(items) / items
    codes = ItemCodes(np.zeros((items, 1), np.int32), (1,), np.where(np.arange(items) < 2, 1, 0), ties)
    near = ItemNeighbours(np.array([0, 1, 2]), np.array([1, 0], np.int32), np.ones(2, np.float32), 1.0, 1.0)
    more = with_stand_ins(near, codes, codes.counts > 0)
    assert (np.diff(more.offsets) == 500).all()
    votes = more.votes(np.array([0]))
    expected = np.sort([1, *(2 + np.argsort(ties[2:])[:499])])
    assert votes.rows.tolist() == expected.tolist() and votes.rows[votes.shares.argmax()] == 1


def test_a_file_of_neighbours_is_read_as_it_was_written_and_damage_is_named(tmp_path):
    near = neighbours_of(0.7, 2.0)
    near.save(tmp_path)
    again = ItemNeighbours.load(tmp_path / NEIGHBOURS_FILE)
    assert (again.decay, again.weight, len(again)) == (0.7, 2.0, ITEMS)
    assert np.array_equal(again.items, near.items)
    with pytest.raises(ArtifactError, match="missing or damaged"):
        ItemNeighbours.load(tmp_path / "other.npz")
    for name, content in (("cut.npz", (tmp_path / NEIGHBOURS_FILE).read_bytes()[:200]), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"{name} is missing or damaged"):
            ItemNeighbours.load(tmp_path / name)
    ItemNeighbours(near.offsets[:-3], near.items, near.similarities, 0.7, 2.0).save(tmp_path)
    with pytest.raises(ArtifactError, match="do not belong together"):
        ItemNeighbours.load(tmp_path / NEIGHBOURS_FILE)


def beams_of(codes, width=30):
    """One prompt whose beams are the first `width` IDs, less probable one by one."""
    log_probabilities = -np.arange(width, dtype=np.float32)[None]
    states = np.zeros((1, width, 4), np.float32)
    tokens = np.zeros((1, width, 3), np.int64)
    return Beams(tokens, log_probabilities, np.arange(width)[None], 3, states, np.ones((1, 4), np.float32))


def test_votes_move_their_items_up_and_add_items_that_no_beam_found(codes):
    votes = Votes(np.array([10, 50]), np.array([0.25, 0.75]), 2.0)
    (rows, scores), (plain, _) = (
        ranked_items(beams_of(codes), codes.trie, ITEMS, [NOTHING], votes=each)[0] for each in ([votes], None)
    )
    assert 50 in rows and 50 not in plain
    gained = 2 * (np.log(0.25 + LEAST_SHARE) - np.log(LEAST_SHARE))
    by_row = dict(zip(rows.tolist(), scores.tolist(), strict=True))
    items = codes.trie.items
    tenth, first = int(items[10]), int(items[0])
    assert tenth == 10  # IDs are in the order of the items here
    assert by_row[tenth] - by_row[first] == pytest.approx(-10 + gained, abs=1e-4)
    # what no beam found counts as the item at place 20
    assert by_row[50] - by_row[first] == pytest.approx(
        -19 + 2 * (np.log(0.75 + LEAST_SHARE) - np.log(LEAST_SHARE)), abs=1e-4
    )


@pytest.mark.parametrize("width", [20, 30, 60])
def test_more_beams_than_places_do_not_change_what_votes_and_ids_say_of_an_item(codes, width):
    votes = [Votes(np.array([5, 55]), np.array([0.5, 0.5]), 1.0)]
    rows, scores = ranked_items(beams_of(codes, width), codes.trie, ITEMS, [NOTHING], votes=votes)[0]
    expected, before = ranked_items(beams_of(codes, 20), codes.trie, ITEMS, [NOTHING], votes=votes)[0]
    assert set(expected.tolist()) <= set(rows.tolist())
    assert np.array_equal(rows[:10], expected[:10])
    np.testing.assert_allclose(scores[:10], before[:10])


def test_votes_bring_no_item_that_may_not_be_a_result(codes):
    votes = [Votes(np.array([40, 50]), np.array([0.5, 0.5]), 4.0)]
    allowed = np.ones(ITEMS, bool)
    allowed[50] = False
    rows, _ = ranked_items(beams_of(codes), codes.trie, ITEMS, [np.array([40])], [allowed], votes=votes)[0]
    assert not {40, 50} & set(rows.tolist())
