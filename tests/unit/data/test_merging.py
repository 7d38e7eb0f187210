"""Lists of several queries become one set without repeats, in which every query has its turn."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modit.data.merging import best_rows, merged, mixed


def test_lists_take_turns_and_repeats_are_left_out():
    assert merged(np.array([[1, 2, 3], [1, 4, 5]]), 4).tolist() == [1, 2, 4, 3]


@given(st.integers(0, 1_000), st.integers(1, 5), st.integers(1, 12))
def test_a_pool_is_full_where_the_lists_are_as_long_as_it(seed, lists, pool):
    scores = np.random.default_rng(seed).standard_normal((lists, 12))
    found = merged(best_rows(scores, pool), pool)
    assert len(found) == len(set(found.tolist())) == pool
    assert set(scores.argmax(1).tolist()[:pool]) <= set(found.tolist()) or pool < lists


def test_a_pool_larger_than_the_catalogue_is_the_catalogue():
    assert sorted(merged(best_rows(np.eye(3), 10), 10).tolist()) == [0, 1, 2]


def test_what_is_kept_of_a_list_does_not_keep_the_order_of_the_whole_catalogue_in_memory():
    assert best_rows(np.zeros((2, 1_000)), 3).base is None


@given(st.integers(0, 1_000), st.integers(1, 12), st.floats(0, 1))
def test_a_mixture_gives_the_first_list_its_share_of_every_beginning(seed, pool, share):
    first, second = np.arange(12), 100 + np.random.default_rng(seed).permutation(12)
    found = mixed(first, second, share, pool)
    assert len(found) == pool
    for length in range(1, pool + 1):
        assert abs((found[:length] < 100).sum() - share * length) <= 1


def test_equal_scores_keep_the_order_of_the_rows_where_a_list_is_cut():
    assert best_rows(np.array([[1.0, 2, 2, 2, 0]]), 2).tolist() == [[1, 2]]
