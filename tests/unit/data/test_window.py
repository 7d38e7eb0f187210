"""A window's rows, and no others, are read; a row whose time cannot be is set aside in every window."""

from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.core.errors import ContractError
from modit.core.window import Days
from modit.data.params import ValidationParams
from modit.data.validate import inspect, validate_logs
from modit.data.window import Window

TOLERANT = ValidationParams(
    unknown_item_share_max=1.0, null_share_max=1.0, duplicate_share_max=1.0, timestamp_share_max=1.0
)
FIRST = datetime(2026, 1, 1)


def _daily(tables, source, late_row=None):
    """Twenty rows, five a day from 1 January, in daily partitions."""
    tables.use_timestamps()
    times = [FIRST + timedelta(days=number // 5, hours=number % 5) for number in range(20)]
    if late_row:
        times[late_row[0]] = late_row[1]
    tables.interactions["timestamp"] = pa.array(times, pa.timestamp("us"))
    rows = pa.table(tables.interactions)
    (tables.write(source) / "interactions.parquet").unlink()
    for day in range(4):
        folder = source / "interactions" / f"date=2026-01-0{day + 1}"
        folder.mkdir(parents=True)
        pq.write_table(rows[5 * day : 5 * day + 5], folder / "part.parquet")
    return source


def _window(first, last):
    return Window.of_days(Days(date(2026, 1, first), date(2026, 1, last)))


def _set_aside(quarantine):
    rows = pq.read_table(quarantine / "interactions.parquet").to_pylist()
    return [(row["file"], row["row"], row["rule"]) for row in rows]


def test_only_partitions_of_the_window_are_opened(tables, source, quarantine):
    _daily(tables, source)
    report = validate_logs(source, quarantine, window=_window(2, 4))[1].interactions
    assert (report.rows, report.outside_window, report.kept) == (10, 0, 10)


def test_a_late_row_in_the_partition_of_its_arrival_belongs_to_its_own_day(tables, source, quarantine):
    _daily(tables, source, late_row=(16, datetime(2026, 1, 3, 23)))
    counts = validate_logs(source, quarantine, window=_window(4, 5))[1].interactions
    assert (counts.rows, counts.outside_window, counts.quarantined) == (5, 1, {})
    both = validate_logs(source, quarantine, window=_window(3, 5))[1].interactions
    assert (both.rows, both.outside_window, both.kept) == (10, 0, 10)


@pytest.mark.parametrize(("days", "is_bad"), [(-2, False), (-3, True), (2, False), (3, True)])
def test_a_row_may_lie_as_many_days_from_its_partition_as_the_overlap(days, is_bad, tables, source, quarantine):
    _daily(tables, source, late_row=(11, datetime(2026, 1, 3, 1) + timedelta(days=days)))
    validate_logs(source, quarantine, TOLERANT)
    expected = [("interactions/date=2026-01-03/part.parquet", 1, "timestamp_in_partition")] if is_bad else []
    assert _set_aside(quarantine) == expected


@pytest.mark.parametrize("moment", [datetime(1970, 1, 1), datetime(1970, 1, 1, 23), datetime(2100, 1, 1), None])
def test_a_row_without_a_possible_time_is_in_no_window_and_set_aside_in_each(moment, tables, source, quarantine):
    tables.use_timestamps()
    tables.set("interactions", "timestamp", 3, moment)
    tables.write(source)
    counts = validate_logs(source, quarantine, TOLERANT, window=_window(1, 2))[1].interactions
    rule = "timestamp_in_range" if moment else "null_in_interaction"
    assert _set_aside(quarantine) == [("interactions.parquet", 3, rule)]
    assert (counts.outside_window, counts.kept) == (0, 19)


def test_row_groups_of_other_days_are_skipped_and_row_numbers_stay_those_of_the_file(tables, source, quarantine):
    tables.use_timestamps()
    tables.interactions["timestamp"] = pa.array(
        [FIRST + timedelta(days=number // 5) for number in range(20)], pa.timestamp("us")
    )
    tables.set("interactions", "item_id", 12, "nobody")
    tables.write(source)
    pq.write_table(pa.table(tables.interactions), source / "interactions.parquet", row_group_size=5)
    counts = validate_logs(source, quarantine, TOLERANT, window=_window(3, 4))[1].interactions
    assert _set_aside(quarantine) == [("interactions.parquet", 12, "unknown_item")]
    assert (counts.rows, counts.outside_window, counts.kept) == (20, 15, 4)


def test_a_folder_that_names_no_day_is_refused(tables, source, quarantine):
    _daily(tables, source)
    (source / "interactions" / "date=2026-01-01").rename(source / "interactions" / "date=2026-02-30")
    with pytest.raises(ContractError, match=r"date=2026-02-30/part.parquet: rule partition_name"):
        validate_logs(source, quarantine)


def test_partitions_and_one_file_give_the_same_window(tables, source, quarantine, tmp_path):
    _daily(tables, source)
    whole = tmp_path / "whole"
    whole.mkdir()
    tables.write(whole)
    times = _window(2, 4)
    parts, one = (inspect(folder, quarantine, TOLERANT, times).interactions for folder in (source, whole))
    assert np.array_equal(parts.rows.key, one.rows.key)
    assert np.array_equal(parts.rows.item, one.rows.item)


def test_rows_that_go_back_in_time_are_measured_and_refused_past_a_limit(tables, source, quarantine):
    tables.use_timestamps()
    tables.set("interactions", "timestamp", 9, FIRST)
    tables.write(source)
    found = inspect(source, quarantine, TOLERANT, Window())
    (fact,) = (fact for fact in found.measurements if fact.rule == "time_order")
    assert (fact.rows, fact.total, fact.is_breached) == (1, 20, False)
    with pytest.raises(ContractError, match=r"1 of 20 rows \(5.00%\), allowed 1.00%"):
        validate_logs(source, quarantine, ValidationParams(unordered_share_max=0.01))
