"""Attr, Joint, Cond and Same@K of retrieved lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modit.metric.list_metrics import list_metrics


def test_a_list_counted_by_hand() -> None:
    positive = np.array([True, True, False, False, True])
    labels = np.array([0, 1, 0, 1, 0])
    metrics = list_metrics(np.array([[0, 1, 2, 3]]), positive, labels, np.array([0]))
    assert metrics.attr.tolist() == [0.5]
    assert metrics.same.tolist() == [0.5]
    assert metrics.joint.tolist() == [0.25]
    assert metrics.cond.tolist() == [0.5]


def test_an_empty_place_is_a_miss_and_not_the_last_item() -> None:
    positive, labels = np.array([False, True]), np.array([1, 0])
    metrics = list_metrics(np.array([[-1, -1]]), positive, labels, np.array([0]))
    assert [metrics.attr[0], metrics.same[0], metrics.joint[0]] == [0, 0, 0]


def test_cond_is_undefined_where_no_result_has_the_attribute() -> None:
    metrics = list_metrics(np.array([[0], [1]]), np.array([False, True]), np.array([0, 0]), np.array([0, 0]))
    assert np.isnan(metrics.cond).tolist() == [True, False]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_joint_is_bounded_by_attr_and_same_and_factors_through_cond(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    positive, labels = rng.random(40) < 0.3, rng.integers(0, 4, 40)
    metrics = list_metrics(rng.integers(-1, 40, (20, k)), positive, labels, rng.integers(0, 4, 20))
    assert (metrics.joint <= np.minimum(metrics.attr, metrics.same)).all()
    assert (metrics.joint >= metrics.attr + metrics.same - 1 - 1e-12).all()
    np.testing.assert_allclose(metrics.attr * np.nan_to_num(metrics.cond), metrics.joint, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_results_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, labels, pattern = rng.random(40) < 0.3, rng.integers(0, 4, 40), rng.integers(0, 4, 5)
    rows = rng.integers(-1, 40, (5, 8))
    given_order = list_metrics(rows, positive, labels, pattern)
    reversed_order = list_metrics(rows[:, ::-1], positive, labels, pattern)
    for one, other in zip(given_order, reversed_order, strict=True):
        np.testing.assert_array_equal(one, other)
