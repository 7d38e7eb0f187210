import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modit.hppo.preferences import build_pairs, shrink_to_kind

K = 20


def shares(count=6, pool=5):
    return arrays(int, (count, pool), elements=st.integers(0, K)).map(lambda hits: hits / K)


@settings(max_examples=100, deadline=None)
@given(shares(), shares(), st.integers(1, 5), st.sampled_from([None, 0.0, 0.1]), st.sampled_from([None, 0]))
def test_kept_pairs_keep_margin_and_filter(joint, same, margin, tolerance, served):
    pairs = build_pairs(joint, same, margin / K, tolerance, served)
    winner, loser = (joint[pairs.case, side] for side in (pairs.winner, pairs.loser))
    assert (winner >= loser + margin / K - 1e-6).all()
    if tolerance is not None:
        assert (same[pairs.case, pairs.winner] >= same[pairs.case, pairs.loser] - tolerance - 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(shares(), shares(), st.integers(1, 5))
def test_gate_takes_the_cases_whose_best_leads_the_second_best(joint, same, margin):
    pairs = build_pairs(joint, same, margin / K, None)
    hits = np.sort(np.round(joint * K).astype(int), 1)
    clear = np.flatnonzero(hits[:, -1] - hits[:, -2] >= margin)
    assert np.unique(pairs.case).tolist() == clear.tolist()
    # Without a filter such a case pairs its best with all others.
    assert len(pairs.case) == len(clear) * (joint.shape[1] - 1)


@pytest.mark.parametrize("k", [5, 7, 10, 20, 100])
def test_gap_of_exactly_the_margin_passes_and_one_result_less_does_not(k):
    for margin in (1, 2, 3):
        for low in range(k - margin + 1):
            joint = np.array([[(low + margin) / k, low / k]])
            assert len(build_pairs(joint, joint, margin / k, 0.0).case) == 1
            assert len(build_pairs(joint, joint, (margin + 1) / k, 0.0).case) == 0


def test_strict_filter_drops_a_loser_with_more_of_the_pattern():
    joint, same = np.array([[0.6, 0.2, 0.1]]), np.array([[0.7, 0.75, 0.5]])
    assert build_pairs(joint, same, 0.1, 0.0).loser.tolist() == [2]
    assert build_pairs(joint, same, 0.1, 0.05).loser.tolist() == [1, 2]
    assert build_pairs(joint, same, 0.1, None).loser.tolist() == [1, 2]


def test_equal_joint_is_decided_by_same():
    joint, same = np.array([[0.5, 0.5, 0.1]]), np.array([[0.6, 0.9, 0.1]])
    assert set(build_pairs(joint, same, 0.1, None, served=2).winner) == {1}


def test_served_query_wins_where_it_is_not_beaten_by_the_margin():
    joint = np.array([[0.5, 0.52, 0.2], [0.5, 0.9, 0.2]])
    pairs = build_pairs(joint, joint, 0.1, 0.0, served=0)
    assert dict(zip(pairs.case, pairs.winner, strict=True)) == {0: 0, 1: 1}


def test_no_candidate_wins_by_leaving_the_pattern_of_the_served_query():
    joint, same = np.array([[0.3, 0.9, 0.1]]), np.array([[0.8, 0.4, 0.1]])
    assert set(build_pairs(joint, same, 0.1, 0.0, served=0).winner) == {0}
    assert set(build_pairs(joint, same, 0.1, None, served=0).winner) == {1}


def test_shrinking_keeps_the_mean_of_a_kind_and_the_wanted_share_of_a_case():
    joint = np.random.default_rng(0).random((8, 3))
    assert np.allclose(shrink_to_kind(joint, 1.0), joint)
    assert np.allclose(shrink_to_kind(joint, 0.0), joint.mean(0))
    shrunk = shrink_to_kind(joint, 0.3)
    assert np.allclose(shrunk.mean(0), joint.mean(0))
    assert np.allclose(shrunk.std(0), 0.3 * joint.std(0))
