"""Interactions lie in the engine while a window is read: how many are held at once changes nothing but memory."""

from datetime import datetime, timedelta
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.data import engine as engines
from modit.data import interactions
from modit.data.engine import Engine
from modit.data.interactions import read_interactions
from modit.data.mapping import Mapping
from modit.data.params import ValidationParams
from modit.data.table import Ingest
from modit.data.window import Window

TOLERANT = ValidationParams(unknown_item_share_max=1.0, null_share_max=1.0, duplicate_share_max=1.0)
ITEMS = np.array([f"i{number}" for number in range(6)])

texts = st.one_of(st.just(""), st.sampled_from("abcdefgh"), st.text(max_size=3), st.text(min_size=12, max_size=40))
row = st.tuples(
    st.one_of(st.none(), texts),
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


def _read(source, quarantine, batch_rows=1 << 20, window=None, threads=2):
    """All that reading gives, as plain values."""
    with (
        mock.patch.object(engines, "BATCH_ROWS", batch_rows),
        mock.patch.object(engines, "usable_cores", lambda: threads),
        Engine(quarantine) as engine,
    ):
        rows = pa.array(np.arange(len(ITEMS), dtype=np.int32))
        engine.save("items", pa.table({"item_id": pa.array(ITEMS.tolist()), "item": rows}))
        found = read_interactions(Ingest(source, engine, quarantine, window or Window(), TOLERANT, Mapping()))
    sequences, rows = found.sequences, found.rows
    arrays = (sequences.offsets, sequences.items, sequences.times, rows.offsets, rows.item, rows.key)
    plain = [None if array is None else (array.dtype, array.tolist()) for array in arrays]
    return plain, found.counts, found.measurements, (quarantine / "interactions.parquet").read_bytes()


@settings(max_examples=20, deadline=None)
@given(files=files, order=st.sampled_from(["position", "timestamp"]))
def test_neither_batches_nor_threads_change_sequences_or_quarantine(files, order, tmp_path_factory):
    source, quarantine = tmp_path_factory.mktemp("input"), tmp_path_factory.mktemp("quarantine")
    (source / "interactions").mkdir()
    _write(source / "interactions", files, order)
    window = Window(end=datetime(2026, 1, 2)) if order == "timestamp" else None
    at_once = _read(source, quarantine, window=window)
    for batch_rows, threads in ((1, 1), (3, 4), (16, 2)):
        assert _read(source, quarantine, batch_rows, window, threads) == at_once


@settings(max_examples=30, deadline=None)
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
    _read(source, quarantine, batch_rows=7)
    aside = pq.read_table(quarantine / "interactions.parquet").to_pylist()
    assert {(row["file"], row["row"]): row["rule"] for row in aside} == expected
    assert [(row["file"], row["row"]) for row in aside] == sorted(expected)
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
    held, repeats = [], interactions._repeats
    monkeypatch.setattr(interactions, "_repeats", lambda rows: held.append(rows.shape[1]) or repeats(rows))
    _read(tmp_path, tmp_path, batch_rows=500)
    assert len(held) >= rows / 500
    assert max(held) < 500 + 50  # a batch, and the sequence that the last one cut


def test_nothing_is_left_of_the_engine_and_its_result_outlives_it(tmp_path):
    (tmp_path / "interactions").mkdir()
    _write(tmp_path / "interactions", [[("s", "i0", 1), ("s", "i1", 2), ("s", "i1", 2)]], "position")
    left = tmp_path / "duckdb-of-an-attempt-that-was-killed"
    left.mkdir()
    (left / "ingest.duckdb").write_bytes(b"rows")
    (_, items, *_), counts, *_ = _read(tmp_path, tmp_path)
    assert (items[1], counts.quarantined) == ([0, 1], {"duplicate_interaction": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interactions", "interactions.parquet"]
