"""Rows and words lie on disk while a window is read: how many are held at once changes nothing but memory."""

from datetime import datetime, timedelta
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.data import interaction_rows, row_order
from modit.data.interactions import read_interactions
from modit.data.params import ValidationParams
from modit.data.positions import Positions
from modit.data.scratch import Scratch
from modit.data.window import TimeRules, Window

TOLERANT = ValidationParams(unknown_item_share_max=1.0, null_share_max=1.0, duplicate_share_max=1.0)
ITEMS = np.array([f"i{number}" for number in range(6)])

row = st.tuples(
    st.one_of(st.none(), st.sampled_from(["", *"abcdefghijklmnop"])),
    st.one_of(st.none(), st.just("nobody"), st.sampled_from(ITEMS.tolist())),
    st.one_of(st.none(), st.integers(0, 50)),
)
files = st.lists(st.lists(row, min_size=1, max_size=60), min_size=1, max_size=4)


def _write(folder, files, order):
    kinds = {"position": pa.int64(), "timestamp": pa.timestamp("us")}
    for number, rows in enumerate(files):
        sequence, item, key = zip(*rows, strict=True)
        if order == "timestamp":
            key = [value if value is None else datetime(2026, 1, 1) + timedelta(hours=value) for value in key]
        columns = {
            "sequence_id": pa.array(sequence, pa.string()),
            "item_id": pa.array(item, pa.string()),
            order: pa.array(key, kinds[order]),
        }
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", use_dictionary=number % 2 == 0)


def _read(source, quarantine, sorted_rows, batch_rows=1 << 19, window=None):
    """All that reading gives, as plain values."""
    with (
        mock.patch.object(interaction_rows, "SORTED_ROWS", sorted_rows),
        mock.patch.object(interaction_rows, "BATCH_ROWS", batch_rows),
    ):
        found = read_interactions(source, ITEMS, quarantine, TimeRules(window or Window()), TOLERANT)
    sequences, rows = found.sequences, found.rows
    arrays = (sequences.offsets, sequences.items, sequences.times, rows.offsets, rows.item, rows.key)
    plain = [None if array is None else (array.dtype, array.tolist()) for array in arrays]
    return plain, found.counts, found.facts, pq.read_table(quarantine / "interactions.parquet").to_pylist()


@settings(max_examples=40, deadline=None)
@given(files=files, order=st.sampled_from(["position", "timestamp"]), batch_rows=st.sampled_from([5, 1000]))
def test_rows_held_at_once_change_neither_sequences_nor_quarantine(files, order, batch_rows, tmp_path_factory):
    source, quarantine = tmp_path_factory.mktemp("input"), tmp_path_factory.mktemp("quarantine")
    (source / "interactions").mkdir()
    _write(source / "interactions", files, order)
    window = Window(end=datetime(2026, 1, 2)) if order == "timestamp" else None
    at_once = _read(source, quarantine, 1 << 20, batch_rows, window)
    for sorted_rows in (1, 3, 16):
        assert _read(source, quarantine, sorted_rows, batch_rows, window) == at_once


@settings(max_examples=40, deadline=None)
@given(files=files)
def test_every_row_that_is_set_aside_is_named_by_its_file_row_and_first_rule(files, tmp_path_factory):
    source, quarantine = tmp_path_factory.mktemp("input"), tmp_path_factory.mktemp("quarantine")
    (source / "interactions").mkdir()
    _write(source / "interactions", files, "position")
    expected, seen = {}, set()
    for number, rows in enumerate(files):
        for place, (sequence, item, key) in enumerate(rows):
            name = (f"interactions/{number}.parquet", place)
            if None in (sequence, item, key):
                expected[name] = "null_in_interaction"
            elif not sequence:
                expected[name] = "empty_sequence_id"
            elif item == "nobody":
                expected[name] = "unknown_item"
            elif (sequence, item, key) in seen:
                expected[name] = "duplicate_interaction"
            seen.add((sequence, item, key))
    aside = _read(source, quarantine, 8, 7)[-1]
    assert {(row["file"], row["row"]): row["rule"] for row in aside} == expected
    values = [[None if v is None else str(v) for v in files[int(row["file"][13])][row["row"]]] for row in aside]
    assert [[row["sequence_id"], row["item_id"], row["position"]] for row in aside] == values


@pytest.mark.parametrize("rows", [4_000, 16_000])
def test_no_more_rows_are_held_than_allowed_however_many_there_are(rows, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "interactions").mkdir()
    columns = {
        "sequence_id": pa.array([f"s{value}" for value in rng.integers(0, rows // 4, rows)]),
        "item_id": pa.array(ITEMS[rng.integers(0, len(ITEMS), rows)].tolist()),
        "position": pa.array(rng.integers(0, 1000, rows)),
    }
    pq.write_table(pa.table(columns), tmp_path / "interactions" / "part.parquet")
    held = []
    for module, name in ((interaction_rows, "in_order"), (row_order, "repeats")):
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, function=function: held.append(_longest(given)) or function(*given)
        )
    _read(tmp_path, tmp_path, sorted_rows=500, batch_rows=300)
    assert len(held) >= rows / 500
    assert max(held) < 500 + 50  # a range ends with a sequence


def _longest(given):
    rows = given[0]
    return len(rows.item) if hasattr(rows, "item") else len(rows[0])


def test_files_of_scratch_are_never_seen_and_their_maps_outlive_it(tmp_path):
    with Scratch(tmp_path) as scratch:
        column = scratch.column(np.int32)
        for block in (np.arange(3), np.arange(0), np.arange(3, 7)):
            column.append(block)
        column.write(1, np.array([9]))
        zeros = scratch.zeros(4, np.int64)
        zeros[2] = 5
        assert column.slice(1, 5).tolist() == [9, 2, 3, 4]
        assert list(tmp_path.iterdir()) == []
        whole, nothing = column.mapped(), scratch.column(np.int8).mapped()
    assert (whole.tolist(), nothing.tolist(), zeros.tolist()) == ([0, 9, 2, 3, 4, 5, 6], [], [0, 0, 5, 0])


@given(kept=st.lists(st.lists(st.booleans(), max_size=20), min_size=1, max_size=5))
def test_positions_name_file_and_row_of_what_stays(kept):
    positions = Positions([len(each) for each in kept])
    expected = []
    for file, each in enumerate(kept):
        rows = np.flatnonzero(each)
        positions.add(file, 0, len(each), None if len(rows) == len(each) else rows)
        expected += [(file, row) for row in rows.tolist()]
    found = [(file, row) for file, _, rows in positions.files(np.arange(len(expected))) for row in rows.tolist()]
    assert found == expected
