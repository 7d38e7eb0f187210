"""Interactions become ordered sequences; bad rows are set aside by name, and too many of them refused."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ContractError
from modit.data.catalog import Catalog
from modit.data.params import ValidationParams
from modit.data.validate import validate_logs
from modit.data.window import Window

TOLERANT = ValidationParams(unknown_item_share_max=1.0, null_share_max=1.0, duplicate_share_max=1.0)


def _set_aside(quarantine):
    return pq.read_table(quarantine / "interactions.parquet").to_pylist()


def test_sequences_follow_position_not_row_order(tables, source, quarantine):
    tables.interactions["position"] = pa.array([4 - number % 5 for number in range(20)])
    catalog, _ = validate_logs(tables.write(source), quarantine)
    assert catalog.sequences[0].tolist() == [4, 3, 2, 1, 0]


def test_ties_keep_the_order_of_the_input(tables, source, quarantine):
    tables.interactions["item_id"] = pa.array([f"i{9 - number % 5}" for number in range(20)])
    tables.interactions["position"] = pa.array([7] * 20)
    catalog, _ = validate_logs(tables.write(source), quarantine)
    assert catalog.sequences[2].tolist() == [9, 8, 7, 6, 5]


def test_daily_partitions_join_a_sequence_over_midnight(tables, source, quarantine):
    tables.use_timestamps()
    tables.interactions["sequence_id"] = pa.array(["night", "day"] * 10)
    (tables.write(source) / "interactions.parquet").unlink()
    rows = pa.table(tables.interactions)
    for day, part in (("2026-01-02", rows[12:]), ("2026-01-01", rows[:12])):
        folder = source / "interactions" / f"date={day}"
        folder.mkdir(parents=True)
        pq.write_table(part, folder / "part.parquet")
    catalog, report = validate_logs(source, quarantine)
    assert report.interactions.sequences == 2
    assert catalog.sequences[0].tolist() == [number % 12 for number in range(0, 20, 2)]


def test_times_stay_with_their_interactions_and_are_absent_with_positions(tables, source, quarantine, tmp_path):
    assert validate_logs(tables.write(source), quarantine)[0].sequences.times is None
    tables.use_timestamps()
    tables.interactions["sequence_id"] = pa.array(["alone", *["day"] * 19])
    catalog, _ = validate_logs(tables.write(source), quarantine)
    hours = [(datetime(2026, 1, 1 + hour // 24, hour % 24, tzinfo=UTC)).timestamp() for hour in range(1, 20)]
    assert (catalog.sequences.times / 1e6).tolist() == hours  # the sequence of one item is dropped, and its time
    catalog.save(tmp_path)
    assert np.array_equal(Catalog.load(tmp_path).sequences.times, catalog.sequences.times)


def test_integer_sequence_ids_are_accepted(tables, source, quarantine):
    tables.interactions["sequence_id"] = pa.array([number // 10 for number in range(20)])
    assert len(validate_logs(tables.write(source), quarantine)[0].sequences) == 2


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("item_id", "nobody", "unknown_item"),
        ("item_id", None, "null_in_interaction"),
        ("sequence_id", None, "null_in_interaction"),
        ("position", None, "null_in_interaction"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_rule_and_place(column, value, rule, tables, source, quarantine):
    tables.set("interactions", column, 7, value)
    catalog, report = validate_logs(tables.write(source), quarantine, TOLERANT)
    (row,) = _set_aside(quarantine)
    assert (row["file"], row["row"], row["rule"], row[column]) == ("interactions.parquet", 7, rule, value)
    assert report.interactions.quarantined == {rule: 1}
    assert report.interactions.kept == len(catalog.sequences.items) == 19


def test_the_repeat_of_a_row_is_set_aside_and_the_first_kept(tables, source, quarantine):
    for column, value in (("item_id", "i0"), ("position", 0)):
        tables.set("interactions", column, 4, value)
    catalog, report = validate_logs(tables.write(source), quarantine, TOLERANT)
    (row,) = _set_aside(quarantine)
    expected = {"file": "interactions.parquet", "row": 4, "sequence_id": "s0", "item_id": "i0", "position": "0"}
    assert row == expected | {"rule": "duplicate_interaction"}
    assert catalog.sequences[0].tolist() == [0, 1, 2, 3]
    assert report.interactions.quarantined == {"duplicate_interaction": 1}


def test_an_item_may_return_at_another_position(tables, source, quarantine):
    tables.set("interactions", "item_id", 4, "i0")
    catalog, _ = validate_logs(tables.write(source), quarantine)
    assert catalog.sequences[0].tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("field", "column", "value"),
    [("unknown_item_share_max", "item_id", "nobody"), ("null_share_max", "sequence_id", None)],
)
def test_a_share_at_the_limit_passes_and_above_it_is_refused_with_examples(
    field, column, value, tables, source, quarantine
):
    for row in (2, 9):
        tables.set("interactions", column, row, value)
    tables.write(source)
    validate_logs(source, quarantine, ValidationParams(**{field: 0.1}))
    with pytest.raises(ContractError, match=r"2 of 20 rows \(10.00%\), allowed 9.90%") as caught:
        validate_logs(source, quarantine, ValidationParams(**{field: 0.099}))
    for word in ("interactions.parquet", f"'{column}'", "row 2", "row 9", repr(value)):
        assert word in str(caught.value)


def test_too_many_repeats_are_refused(tables, source, quarantine):
    tables.interactions["item_id"] = pa.array(["i0"] * 20)
    tables.interactions["position"] = pa.array([0, 1] * 10)
    with pytest.raises(ContractError, match="rule duplicate_interaction"):
        validate_logs(tables.write(source), quarantine)


def test_sequences_of_one_item_are_dropped_and_counted(tables, source, quarantine):
    tables.set("interactions", "sequence_id", 0, "lonely")
    catalog, report = validate_logs(tables.write(source), quarantine)
    assert report.interactions.short_sequences_dropped == report.interactions.in_short_sequences == 1
    assert [len(catalog.sequences[index]) for index in range(len(catalog.sequences))] == [4, 5, 5, 5]


def test_a_window_is_closed_at_its_start_and_open_at_its_end(tables, source, quarantine):
    tables.use_timestamps()
    window = Window(datetime(2026, 1, 1, 5), datetime(2026, 1, 1, 15))
    catalog, report = validate_logs(tables.write(source), quarantine, window=window)
    assert report.interactions.outside_window == 10
    assert catalog.sequences.items.tolist() == [number % 12 for number in range(5, 15)]


def test_an_empty_window_is_refused(tables, source, quarantine):
    tables.use_timestamps()
    with pytest.raises(ContractError, match=r"rule interactions_not_empty.*20 rows, 0 in the window"):
        validate_logs(tables.write(source), quarantine, window=Window(start=datetime(2027, 1, 1)))


def test_a_window_needs_timestamps(tables, source, quarantine):
    with pytest.raises(ContractError, match="a window of time needs the column timestamp"):
        validate_logs(tables.write(source), quarantine, window=Window(start=datetime(2026, 1, 1)))


def test_an_aware_window_reads_aware_timestamps(tables, source, quarantine):
    tables.use_timestamps()
    tables.interactions["timestamp"] = tables.interactions["timestamp"].cast(pa.timestamp("ns", tz="UTC"))
    window = Window(end=datetime(2026, 1, 1, 10, tzinfo=UTC))
    assert validate_logs(tables.write(source), quarantine, window=window)[1].interactions.kept == 10


def test_parts_that_mix_aware_and_naive_timestamps_are_refused(tables, source, quarantine):
    tables.use_timestamps()
    (tables.write(source) / "interactions.parquet").unlink()
    (source / "interactions").mkdir()
    rows = pa.table(tables.interactions)
    aware = rows.set_column(2, "timestamp", rows["timestamp"].cast(pa.timestamp("us", tz="UTC")))
    pq.write_table(rows, source / "interactions" / "a.parquet")
    pq.write_table(aware, source / "interactions" / "b.parquet")
    with pytest.raises(ContractError, match=r"interactions/b\.parquet, column 'timestamp'.*time zone UTC"):
        validate_logs(source, quarantine)


def test_the_report_says_what_each_rule_means(tables, source, quarantine):
    tables.set("interactions", "item_id", 0, "nobody")
    validate_logs(tables.write(source), quarantine)[1].save(quarantine)
    report = json.loads((quarantine / "report.json").read_text())
    assert report["interactions"]["quarantined"] == {"unknown_item": 1}
    assert report["rules"] == {"unknown_item": "the item_id of an interaction exists in items"}


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_tolerance_outside_the_unit_interval_is_refused(share):
    with pytest.raises(ValueError, match="null_share_max"):
        ValidationParams(null_share_max=share)


rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["i0", "i1", "i2", "nobody", None]),
        st.one_of(st.integers(-3, 3), st.none()),
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(rows=rows)
def test_any_rows_are_kept_set_aside_or_in_a_short_sequence_as_a_plain_loop_says(rows, tmp_path_factory):
    source, quarantine = tmp_path_factory.mktemp("input"), tmp_path_factory.mktemp("quarantine")
    items = {"item_id": ["i0", "i1", "i2"], "attr_x": [True] * 3, "embedding": [[1.0, 2.0]] * 3}
    pq.write_table(pa.table(items), source / "items.parquet")
    names = [("sequence_id", pa.string()), ("item_id", pa.string()), ("position", pa.int64())]
    columns = [pa.array(column, kind) for column, (_, kind) in zip(zip(*rows, strict=True), names, strict=True)]
    pq.write_table(pa.table(columns, schema=pa.schema(names)), source / "interactions.parquet")

    expected = _plain_sequences(rows)
    if not expected:
        with pytest.raises(ContractError, match="interactions_not_empty"):
            validate_logs(source, quarantine, TOLERANT)
        return
    catalog, report = validate_logs(source, quarantine, TOLERANT)
    assert [catalog.sequences[index].tolist() for index in range(len(catalog.sequences))] == expected
    counts = report.interactions
    assert len(_set_aside(quarantine)) == sum(counts.quarantined.values())
    assert counts.rows == sum(counts.quarantined.values()) + counts.in_short_sequences + counts.kept


def test_small_batches_give_the_same_as_one(tables, source, quarantine, monkeypatch):
    rng = np.random.default_rng(0)
    columns = {
        "sequence_id": rng.integers(0, 40, 900),
        "item_id": rng.integers(0, 12, 900),
        "position": rng.integers(0, 9, 900),
    }
    tables.interactions = {
        "sequence_id": pa.array([f"s{value}" for value in columns["sequence_id"]]),
        "item_id": pa.array([f"i{value}" if value else "nobody" for value in columns["item_id"]]),
        "position": pa.array(columns["position"]),
    }
    tables.write(source)
    whole, report = validate_logs(source, quarantine, TOLERANT)
    expected = {(row["row"], row["rule"]) for row in _set_aside(quarantine)}
    monkeypatch.setattr("modit.data.engine.BATCH_ROWS", 64)
    ranges, again = validate_logs(source, quarantine, TOLERANT)
    assert np.array_equal(ranges.sequences.items, whole.sequences.items)
    assert np.array_equal(ranges.sequences.offsets, whole.sequences.offsets)
    assert again == report
    assert {(row["row"], row["rule"]) for row in _set_aside(quarantine)} == expected


def _plain_sequences(rows):
    sequences, order = {}, []
    for sequence, item, position in rows:
        if None in (sequence, item, position):
            continue
        if sequence not in sequences:
            order.append(sequence)
            sequences[sequence] = []
        if item != "nobody" and (position, item) not in sequences[sequence]:
            sequences[sequence].append((position, item))
    ordered = [sorted(sequences[sequence], key=lambda pair: pair[0]) for sequence in order]
    return [[int(item[1]) for _, item in pairs] for pairs in ordered if len(pairs) >= 2]


def test_a_catalogue_survives_saving_and_loading(tables, source, quarantine, tmp_path):
    catalog, _ = validate_logs(tables.write(source), quarantine)
    catalog.save(tmp_path)
    loaded = type(catalog).load(tmp_path)
    assert np.array_equal(loaded.embeddings, catalog.embeddings)
    assert np.array_equal(loaded.sequences.items, catalog.sequences.items)
    assert loaded.item_ids.tolist() == catalog.item_ids.tolist()
