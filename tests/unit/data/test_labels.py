"""Retrieval labels: a request's rows are judged together, and a bad row takes no other with it without reason."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.data.params import ValidationParams
from modit.data.validate import inspect
from modit.data.window import Window

TOLERANT = ValidationParams(label_share_max=1.0, timestamp_share_max=1.0)
NOON = datetime(2026, 1, 2, 12)
KINDS = {"timestamp": pa.timestamp("us"), "rank": pa.int32(), "label": pa.bool_()}


def request(name, ranks, anchor="i0", items=None, moment=NOON):
    """The rows of a request, one for each rank, with items i1, i2, ..."""
    return [
        {
            "request_id": name,
            "timestamp": moment,
            "domain": "quality",
            "anchor_item_id": anchor,
            "rank": rank,
            "item_id": items[number] if items else f"i{number + 1}",
            "label": number % 2 == 0,
        }
        for number, rank in enumerate(ranks)
    ]


def read(tables, source, quarantine, rows, name="retrieval_labels.parquet", params=TOLERANT):
    columns = {key: pa.array([row[key] for row in rows], KINDS.get(key, pa.string())) for key in rows[0]}
    file = tables.write(source) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    found = inspect(source, quarantine, params, Window())
    aside = pq.read_table(quarantine / "retrieval_labels.parquet").to_pylist()
    table = found.labels.rows.to_pylist()
    return table, {row["row"]: row["rule"] for row in aside}


@pytest.mark.parametrize(
    ("ranks", "rules"),
    [
        ([1, 2, 3], {}),
        ([3, 1, 2], {}),
        ([1, 3], {0: "rank_contiguous", 1: "rank_contiguous"}),
        ([2, 3], {0: "rank_contiguous", 1: "rank_contiguous"}),
        ([1, 1, 3], {0: "rank_contiguous", 1: "duplicate_label", 2: "rank_contiguous"}),
        ([0, 2], {0: "rank_positive", 1: "rank_contiguous"}),
        ([0, 1, 2], {0: "rank_positive"}),
        ([-1, 1], {0: "rank_positive"}),
        ([1, 2, 2], {2: "duplicate_label"}),
        ([1, None, 3], {1: "null_in_label"}),
        ([1, None, 4], {0: "rank_contiguous", 1: "null_in_label", 2: "rank_contiguous"}),
    ],
)
def test_every_rank_up_to_the_greatest_must_have_been_delivered(ranks, rules, tables, source, quarantine):
    kept, aside = read(tables, source, quarantine, request("r1", ranks) + request("r2", [1, 2]))
    assert aside == rules
    good = [rank for row, rank in enumerate(ranks) if row not in rules]
    assert [row["rank"] for row in kept if row["request_id"] == "r1"] == sorted(good)
    assert [row["rank"] for row in kept if row["request_id"] == "r2"] == [1, 2]


@pytest.mark.parametrize("column", ["request_id", "timestamp", "domain", "anchor_item_id", "rank", "item_id", "label"])
def test_a_row_without_a_value_is_set_aside_and_leaves_no_hole(column, tables, source, quarantine):
    rows = request("r1", [1, 2, 3]) + request("r2", [1, 2, 3], anchor="i5", moment=NOON + timedelta(hours=1))
    rows[1][column] = None
    kept, aside = read(tables, source, quarantine, rows)
    assert aside == {1: "null_in_label"}
    assert [(row["request_id"], row["rank"]) for row in kept] == [("r1", 1), ("r1", 3), ("r2", 1), ("r2", 2), ("r2", 3)]


def test_a_row_without_a_request_is_one_of_the_request_with_its_anchor_and_time_alone(tables, source, quarantine):
    rows = request("r1", [1, 2, 3]) + request("r2", [1, 3], anchor="i5")
    rows[1]["request_id"] = None  # rank 2 of r1, which is missing in r2, too
    _, aside = read(tables, source, quarantine, rows)
    assert aside == {1: "null_in_label", 3: "rank_contiguous", 4: "rank_contiguous"}


def test_the_values_that_most_rows_of_a_request_have_are_right_and_of_equals_the_first(tables, source, quarantine):
    rows = request("r1", [1, 2, 3]) + request("r2", [1, 2], anchor="i4")
    rows[2]["anchor_item_id"] = "i9"
    rows[4]["anchor_item_id"] = "i2"
    _, aside = read(tables, source, quarantine, rows)
    assert aside == {2: "one_anchor_per_request", 4: "one_anchor_per_request"}


def test_a_row_in_the_partition_of_no_day_is_set_aside_with_its_reason(tables, source, quarantine):
    name = "retrieval_labels/date=__HIVE_DEFAULT_PARTITION__/part.parquet"
    kept, aside = read(tables, source, quarantine, request("r1", [1, 2]), name)
    assert (kept, aside) == ([], {0: "partition_name", 1: "partition_name"})


@pytest.mark.parametrize("folder", ["date=__HIVE_DEFAULT_PARTITION__", "date=2026-02-30", "date=", "date=null"])
def test_a_file_whose_folder_names_no_day_costs_its_own_rows_and_no_others(folder, tables, source, quarantine):
    tables.use_timestamps()
    tables.write(source)
    (source / "interactions").mkdir()
    (source / "interactions.parquet").rename(source / "interactions" / "part.parquet")
    place = source / "interactions" / folder
    place.mkdir()
    columns = {"sequence_id": ["s0"], "item_id": ["i11"], "timestamp": [NOON]}
    pq.write_table(pa.table(columns), place / "part.parquet")
    for window in (Window(), Window(start=datetime(2026, 1, 1), end=datetime(2026, 1, 2))):
        found = inspect(source, quarantine, TOLERANT, window)
        (row,) = pq.read_table(quarantine / "interactions.parquet").to_pylist()
        assert (row["file"], row["rule"]) == (f"interactions/{folder}/part.parquet", "partition_name")
        assert found.report.interactions.kept == 20
    strict = inspect(source, quarantine, ValidationParams(timestamp_share_max=0.01), Window())
    assert [each.rule for each in strict.breached] == ["partition_name"]


def test_domains_of_labels_are_written_as_those_of_items_are(tables, source, quarantine):
    rows = request("r1", [1, 2])
    for row in rows:
        row["domain"] = "Quality"
    kept, aside = read(tables, source, quarantine, rows)
    assert ([row["domain"] for row in kept], aside) == (["quality", "quality"], {})


def test_too_many_bad_labels_name_the_option_that_lets_them_through(tables, source, quarantine):
    read(tables, source, quarantine, request("r1", [1, 2, 2]))
    breached = inspect(source, quarantine, ValidationParams(), Window()).breached
    assert [each.rule for each in breached] == ["duplicate_label"]
    assert """OVERRIDES='{"validate_logs.label_share_max": 0.34}'""" in str(breached[0])
