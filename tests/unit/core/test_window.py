"""A run names its window in whole days; what is accepted is noted beside the runs."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from modit.core.errors import ConfigError
from modit.core.key import catalogue_parts, explain
from modit.core.params import WindowParams
from modit.core.run_config import open_run
from modit.core.storage import Storage
from modit.core.window import Days, NamedWindow, WindowLedger, named_window, partition_day


def conf(**window: object) -> dict:
    return {"catalogue": "x", "window": window}


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"start": "2011-11-01"}, "field window.end: .*Field required"),
        ({"end": "1.12.2011"}, "field window.end: '1.12.2011'.*must be a day, YYYY-MM-DD"),
        ({"end": "2011-11-31"}, "field window.end: '2011-11-31'"),
        ({"end": "2011-12-01T06:00:00"}, "must be a day"),
        ({"end": 1322697600}, "must be a day"),
        ({"start": "2011-12-01", "end": "2011-12-01"}, "start 2011-12-01 must be before end 2011-12-01"),
        ({"end": "2011-12-01", "days": 3}, "field window.days"),
    ],
)
def test_a_wrong_window_is_refused_by_field_value_and_rule(tmp_path, window, message):
    with pytest.raises(ConfigError, match=message):
        open_run(Storage(str(tmp_path / "run")), conf(**window))


def test_both_ends_are_taken_as_named_and_a_lone_end_reaches_back_by_length_and_overlap():
    params = WindowParams(length_days=7, overlap_days=2)
    assert NamedWindow(start="2011-11-01", end="2011-12-01").days(params) == Days(date(2011, 11, 1), date(2011, 12, 1))
    assert NamedWindow(end="2011-12-01").days(params) == Days(date(2011, 11, 22), date(2011, 12, 1))


def test_a_window_ends_with_the_midnight_after_its_last_day():
    assert Days(date(2011, 11, 1), date(2011, 12, 1)).end_instant == datetime(2011, 12, 1, tzinfo=UTC)


def test_a_window_survives_run_json_and_another_one_is_refused(tmp_path):
    run = Storage(str(tmp_path))
    first = open_run(run, conf(end="2011-12-01"))
    assert open_run(run, conf(end="2011-12-01")) == first == open_run(run, None)
    with pytest.raises(ConfigError, match="field window is .*take another run folder"):
        open_run(run, conf(end="2011-12-02"))


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("interactions/date=2011-11-01/part.parquet", date(2011, 11, 1)),
        ("interactions/date=2011-11-31/part.parquet", None),
        ("interactions/date=20111101/part.parquet", None),
        ("interactions/2011-11-01/part.parquet", None),
        ("date=2011-11-01", None),
    ],
)
def test_the_day_of_a_partition_is_read_from_its_folder(name, day):
    assert partition_day(name) == day


def test_only_the_windows_partitions_and_undated_files_enter_the_key(tmp_path):
    names = ("items.parquet", *(f"interactions/date=2011-11-0{day}/p.parquet" for day in (1, 2, 3)))
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    days = Days(date(2011, 11, 2), date(2011, 11, 3))
    assert set(catalogue_parts(str(tmp_path), days)) == {names[0], names[2]}
    assert set(catalogue_parts(str(tmp_path))) == set(names)


def test_another_history_is_named_as_the_reason_to_run_again():
    before = {"params": {}, "inputs": {}, "history": {}, "window": {"end": "2011-11-02"}}
    after = before | {"history": {"2011-11-01_2011-10-01.json": "abc"}}
    assert explain(before, after) == ["accepted windows changed: 2011-11-01_2011-10-01.json"]


def test_a_window_sees_those_that_ended_before_it_in_order_and_of_its_own_catalogue(tmp_path):
    ledger = WindowLedger(Storage(str(tmp_path / "runs" / "one")), "catalogue")
    for day in (3, 1, 2):
        ledger.accept(Days(date(2011, 10, 1), date(2011, 11, day)), {"day": day})
    assert [record["day"] for record in ledger.before(date(2011, 11, 3), 5)] == [1, 2]
    assert [record["day"] for record in ledger.before(date(2011, 12, 1), 2)] == [2, 3]
    other = WindowLedger(Storage(str(tmp_path / "runs" / "two")), "catalogue")
    assert len(other.before(date(2011, 12, 1), 5)) == 3
    assert WindowLedger(Storage(str(tmp_path / "runs" / "two")), "another").before(date(2011, 12, 1), 5) == []


def test_accepting_a_window_twice_leaves_one_record(tmp_path):
    ledger = WindowLedger(Storage(str(tmp_path / "runs" / "one")), "catalogue")
    days = Days(date(2011, 10, 1), date(2011, 11, 1))
    for rows in (1, 2):
        ledger.accept(days, {"rows": rows})
    assert ledger.before(date(2012, 1, 1), 5) == [{"rows": 2}]


def test_a_window_may_name_its_end_alone():
    assert named_window("") is None
    assert named_window(":2026-02-01") == {"end": "2026-02-01"}
    assert named_window("2026-01-01:2026-02-01") == {"start": "2026-01-01", "end": "2026-02-01"}


def test_a_window_that_lies_ahead_is_refused_and_one_that_ends_with_today_is_not():
    today = date(2026, 3, 1)
    Days(date(2026, 2, 1), date(2026, 3, 2)).refuse_future(today)
    with pytest.raises(ConfigError, match=r"window: end 2026-03-03 lies ahead; allowed: 2026-03-02"):
        Days(date(2026, 2, 1), date(2026, 3, 3)).refuse_future(today)
