"""The split of sessions: last item test, the one before it validation, the rest training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.data.sessions import SessionPart, Sessions, head_items, training_counts

VALIDATION, TEST = SessionPart.VALIDATION, SessionPart.TEST


def sequences(*rows):
    lengths = [len(row) for row in rows]
    return Sequences(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.array(sum(rows, []), np.int32))


def as_lists(found):
    return [found[index].tolist() for index in range(len(found))]


def test_the_history_of_a_test_case_includes_the_validation_item():
    sessions = Sessions(sequences([1, 2, 3, 4], [5, 6, 7]))
    assert as_lists(sessions.histories(TEST)) == [[1, 2, 3], [5, 6]]
    assert sessions.targets(TEST).tolist() == [4, 7]
    assert as_lists(sessions.histories(VALIDATION)) == [[1, 2], [5]]
    assert sessions.targets(VALIDATION).tolist() == [3, 6]
    assert as_lists(sessions.training) == [[1, 2], [5]]


def test_sessions_that_are_too_short_for_a_part_are_left_out_by_name_and_count():
    sessions = Sessions(sequences([1, 2], [3, 4, 5], [6, 7]))
    assert sessions.left_out == {"validation": 2, "test": 0}
    assert sessions.users(VALIDATION).tolist() == [1]
    assert sessions.users(TEST).tolist() == [0, 1, 2]


@given(st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=9), min_size=1, max_size=9))
def test_no_target_is_in_the_training_part_and_nothing_is_lost(rows):
    sessions = Sessions(sequences(*rows))
    assert as_lists(sessions.training) == [row[:-2] for row in rows if len(row) > 2]
    assert [[*h, t] for h, t in zip(as_lists(sessions.histories(TEST)), sessions.targets(TEST), strict=True)] == rows


def test_too_short_sessions_are_refused_with_what_is_needed():
    with pytest.raises(InsufficientDataError, match="2 sessions, the longest of 3 items; .* needs sessions of 4 items"):
        Sessions(sequences([1, 2, 3], [1, 2])).require_training()
    with pytest.raises(InsufficientDataError, match="0 sessions"):
        Sessions(Sequences.none()).require_training()
    Sessions(sequences([1, 2, 3, 4])).require_training()


def test_the_head_is_the_smallest_set_that_covers_the_share():
    counts = training_counts(sequences([0, 0, 0, 0, 0, 1, 1, 1, 2, 3]), 5)
    assert counts.tolist() == [5, 3, 1, 1, 0]
    assert head_items(counts, 0.8).tolist() == [True, True, False, False, False]
    assert head_items(counts, 0.5).tolist() == [True, False, False, False, False]
    # items of equal count are in or out together, and one that never occurs is never in
    assert head_items(counts, 0.9).tolist() == [True, True, True, True, False]
    assert not head_items(np.zeros(3, np.int64)).any()
