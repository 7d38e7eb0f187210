"""Calibration of log-odds, and the figures of reliability."""

from __future__ import annotations

import numpy as np
import pytest

from modit.metric.calibration import CLIP, NONE, PLATT, calibrate, log_loss, probability, reliability


def drawn(count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True log-odds, and verdicts that follow them."""
    generator = np.random.default_rng(seed)
    log_odds = 1.5 * generator.standard_normal(count) - 1
    return log_odds, generator.random(count) < probability(log_odds)


def test_calibration_undoes_a_scale_and_a_shift() -> None:
    log_odds, positive = drawn()
    found = calibrate(3 * log_odds - 2, positive, fewest=20)
    assert found.method == PLATT
    assert (found.slope, found.intercept) == (pytest.approx(1 / 3, rel=0.05), pytest.approx(2 / 3, abs=0.06))
    assert log_loss(found(3 * log_odds - 2), positive) < log_loss(3 * log_odds - 2, positive) - 0.1


def test_a_model_that_says_the_opposite_tells_nothing_and_gets_the_share_of_positives() -> None:
    log_odds, positive = drawn(4_000)
    found = calibrate(-log_odds, positive, fewest=20)
    assert found.slope == 0
    np.testing.assert_allclose(probability(found(log_odds)), positive.mean())


def test_too_few_of_a_kind_change_nothing_and_say_so() -> None:
    log_odds = np.linspace(-2, 2, 100)
    positive = np.arange(100) >= 81
    found = calibrate(log_odds, positive, fewest=20)
    assert found == (NONE, 1.0, 0.0, 19, 81)
    np.testing.assert_array_equal(found(log_odds), log_odds)
    assert calibrate(log_odds, np.arange(100) >= 80, fewest=20).method == PLATT


def test_calibrated_log_odds_stay_in_bounds_where_the_verdicts_separate() -> None:
    log_odds = np.r_[np.full(50, -CLIP), np.full(50, CLIP)]
    found = calibrate(log_odds, log_odds > 0, fewest=20)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert np.abs(found(10 * log_odds)).max() == CLIP


def test_log_loss_is_the_negative_log_likelihood() -> None:
    assert log_loss(np.array([0.0, 0.0]), np.array([True, False])) == pytest.approx(np.log(2))
    three_to_one = np.log(3.0)
    assert log_loss(np.array([three_to_one]), np.array([False])) == pytest.approx(-np.log(0.25))


def test_true_probabilities_lie_on_the_diagonal_and_distorted_ones_do_not() -> None:
    log_odds, positive = drawn(100_000)
    told, distorted = reliability(log_odds, positive), reliability(log_odds + 1, positive)
    assert max(abs(each["predicted"] - each["observed"]) for each in told["bins"]) < 0.03
    assert max(abs(each["predicted"] - each["observed"]) for each in distorted["bins"]) > 0.15
    assert told["log_loss"] < told["base_log_loss"] and told["brier"] < distorted["brier"]
    assert told["auc"] == pytest.approx(distorted["auc"]) and told["auc"] > 0.8
    assert sum(each["items"] for each in told["bins"]) == told["items"] == 100_000
    assert all(each["low"] <= each["predicted"] <= each["high"] for each in told["bins"])


def test_one_kind_of_verdict_has_bins_and_no_figures() -> None:
    facts = reliability(np.array([0.0, 6.0]), np.array([True, True]))
    assert (facts["auc"], facts["log_loss"], facts["brier"]) == (None, None, None)
    assert [each["items"] for each in facts["bins"]] == [1, 1]
    assert reliability(np.empty(0), np.empty(0, bool))["bins"] == []
