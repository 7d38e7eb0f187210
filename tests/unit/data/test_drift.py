"""Drift: zero between equal windows, growing with the movement, and never from chance alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.data.drift import compare, measure_drift, stability_index
from modit.data.params import DriftParams, ValidationParams
from modit.data.profile import _categories, _numbers, decode, encode, learn_codebook
from modit.data.vectors import nearest_centroid

PARAMS = DriftParams()
counts = st.lists(st.integers(1, 1_000), min_size=2, max_size=8)


@given(counts)
def test_a_distribution_has_not_moved_from_itself(values):
    assert stability_index(np.array(values, float), 3.0 * np.array(values, float)) == pytest.approx(0.0)


@given(counts, st.randoms())
def test_the_index_is_symmetric_and_not_negative(values, random):
    other = list(values)
    random.shuffle(other)
    a, b = np.array(values, float), np.array(other, float)
    assert stability_index(a, b) == pytest.approx(stability_index(b, a))
    assert stability_index(a, b) >= 0


def test_the_index_is_that_of_its_formula():
    p, q = np.array([0.5, 0.5]), np.array([0.2, 0.8])
    assert stability_index(50 * p, 10 * q) == pytest.approx(0.3 * np.log(2.5) - 0.3 * np.log(0.625))


@pytest.mark.parametrize("seed", range(5))
def test_two_samples_of_one_law_do_not_drift(seed):
    rng = np.random.default_rng(seed)
    now, then = (
        {"items.a": _numbers(rng.lognormal(size=50_000)), "b": _categories(rng.integers(0, 30, 50_000))} for _ in "12"
    )
    assert {drift.level for drift in compare(now, then, PARAMS)} == {"ok"}


@pytest.mark.parametrize(("shift", "level"), [(0.1, "ok"), (0.6, "warn"), (3.0, "fail")])
def test_levels_rise_with_the_shift(shift, level):
    rng = np.random.default_rng(0)
    now, then = {"items.a": _numbers(rng.normal(size=20_000) + shift)}, {"items.a": _numbers(rng.normal(size=20_000))}
    assert compare(now, then, PARAMS)[0].level == level


def test_a_category_that_appears_counts_and_stays_finite():
    (drift,) = compare(
        {"items.a": _categories(np.array(["x"] * 99))}, {"items.a": _categories(np.array(["y"] * 99))}, PARAMS
    )
    assert drift.level == "fail"
    assert np.isfinite(drift.psi)


def test_a_distance_of_few_rows_that_chance_explains_does_not_count():
    (drift,) = compare(
        {"items.a": _numbers(np.array([3.0]))}, {"items.a": _numbers(np.array([0.0, 1.0]))}, DriftParams(psi_fail=99)
    )
    assert drift.distance == 1.0
    assert not any(
        fact.is_breached for fact in measure_drift([drift], ValidationParams(drift=DriftParams(psi_fail=99)))
    )


def test_an_index_of_few_rows_that_chance_explains_does_not_count():
    few, many = _categories(np.array(["x", "y"])), _categories(np.array([*"abcdefghij"] * 3 + ["x", "y"]))
    (drift,) = compare({"items.a": few}, {"items.a": many}, PARAMS)
    assert drift.psi > PARAMS.psi_fail
    assert drift.level == "ok"
    assert not any(fact.is_breached for fact in measure_drift([drift], ValidationParams()))


def test_constant_columns_do_not_drift_and_moved_ones_do():
    ones = _numbers(np.ones(500))
    assert compare({"items.a": ones}, {"items.a": ones}, PARAMS)[0].level == "ok"
    assert compare({"items.a": _numbers(np.full(500, 2.0))}, {"items.a": ones}, PARAMS)[0].level == "fail"


def test_columns_that_only_one_window_has_are_left_out():
    assert compare({"new": _numbers(np.ones(5))}, {"old": _numbers(np.ones(5))}, PARAMS) == []


def test_a_codebook_survives_json_and_gives_the_nearest_centroid():
    points = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
    codebook = learn_codebook(points, 8)
    assert np.array_equal(decode(encode(codebook)), codebook)
    nearest = ((points[:, None] - codebook) ** 2).sum(-1).argmin(1)
    assert np.array_equal(nearest_centroid(points, codebook), nearest)
