"""A window beside those accepted before: new and late rows, volume, missing days, learned bands."""

from datetime import date

import numpy as np
import pytest

from modit.core.window import Days
from modit.data.history import measure_rates, measure_volume, news
from modit.data.params import ValidationParams
from modit.data.profile import by_day

PARAMS = ValidationParams()
DAY = 86_400_000_000


def record(start, end, days, **more):
    rows = sum(count for count, _ in days.values())
    return {"start": start, "end": end, "interactions": {"rows": rows, "by_day": days}} | more


BEFORE = record("2026-01-01", "2026-01-04", {"2026-01-02": [10, 7], "2026-01-03": [10, 8]})


@pytest.mark.parametrize(
    ("days", "new", "late"),
    [
        ({"2026-01-02": [10, 7], "2026-01-03": [10, 8]}, 0, 0),
        ({"2026-01-02": [10, 7], "2026-01-03": [10, 8], "2026-01-04": [5, 1]}, 5, 0),
        ({"2026-01-02": [13, 9], "2026-01-03": [10, 8], "2026-01-04": [5, 1]}, 8, 3),
        ({"2026-01-03": [9, 2]}, 1, 1),
        ({"2026-01-03": [10, 2]}, 1, 1),
        ({}, 0, 0),
    ],
)
def test_new_and_late_rows_are_counted_day_by_day(days, new, late):
    found = news(record("2026-01-02", "2026-01-05", days), [BEFORE])
    assert found == {"new_rows": new, "late_rows": late, "compared_with": "2026-01-01 to 2026-01-04"}


def test_everything_is_new_in_the_first_window():
    found = news(BEFORE, [])
    assert found == {"new_rows": 20, "late_rows": 0, "compared_with": None}


def test_the_sum_of_a_day_depends_on_its_rows_and_not_on_their_order():
    rng = np.random.default_rng(0)
    key, item = rng.integers(0, 3 * DAY, 100), rng.integers(0, 9, 100)
    fingerprint = rng.integers(0, 2**63, 9).astype(np.uint64)
    order = rng.permutation(100)
    assert by_day(key, item, fingerprint) == by_day(key[order], item[order], fingerprint)
    other = item.copy()
    other[5] = (other[5] + 1) % 9
    assert by_day(key, other, fingerprint) != by_day(key, item, fingerprint)


@pytest.mark.parametrize(("rows", "breached"), [(20, False), (6, False), (4, True), (79, False), (81, True)])
def test_volume_is_judged_a_day_against_the_median(rows, breached):
    now = record("2026-01-04", "2026-01-06", {"2026-01-04": [rows, 0], "2026-01-05": [rows, 0]})
    history = [record("2026-01-01", "2026-01-03", {"x": [2 * each, 0]}) for each in (20, 20, 900)]
    facts = {fact.rule: fact for fact in measure_volume(now, Days(date(2026, 1, 4), date(2026, 1, 6)), history, PARAMS)}
    assert facts["volume"].is_breached == breached


def test_days_without_rows_are_named():
    now = record("2026-01-01", "2026-01-05", {"2026-01-02": [1, 0]})
    (fact,) = measure_volume(now, Days(date(2026, 1, 1), date(2026, 1, 5)), [], PARAMS)
    assert (fact.rule, fact.value, fact.is_breached) == ("days_present", 0.75, True)
    assert "2026-01-01, 2026-01-03, 2026-01-04" in fact.details[0]


def labelled(share, rows=1_000):
    return {"label_rates": {"popular": [round(share * rows), rows, rows]}}


@pytest.mark.parametrize(
    ("found", "past", "breached"),
    [
        (0.24, [0.2, 0.2], False),
        (0.27, [0.2, 0.2], True),
        (0.12, [0.2, 0.2], True),
        (0.45, [0.1, 0.3, 0.2, 0.4], False),
    ],
)
def test_the_band_of_a_rate_is_learnt_from_accepted_windows(found, past, breached):
    (fact,) = measure_rates(labelled(found, 100_000), [labelled(share) for share in past], PARAMS)
    assert fact.is_breached == breached


def test_few_labels_are_given_their_own_error():
    (fact,) = measure_rates(labelled(0.5, rows=10), [labelled(0.2)], PARAMS)
    assert not fact.is_breached


def test_a_domain_without_history_has_no_band():
    assert measure_rates(labelled(0.9), [], PARAMS) == []
