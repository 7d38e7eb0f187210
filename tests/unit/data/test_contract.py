"""Every rule of the input contract refuses its breach and names file, column, row and rule."""

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modit.core.errors import ContractError
from modit.data.catalog import Catalog
from modit.data.contract import LABEL_COLUMNS, LABEL_SCHEMA
from modit.data.params import ValidationParams
from modit.data.rules import RULES
from modit.data.validate import validate_logs

# How to break the sound folder, and what the message must say.
BROKEN = {
    "items without item_id": (lambda t: t.items.pop("item_id"), "column_present", ["items.parquet", "'item_id'"]),
    "items without embedding": (lambda t: t.items.pop("embedding"), "column_present", ["'embedding'", "missing"]),
    "items without attribute": (lambda t: t.items.pop("attr_quality"), "attribute_present", ["items.parquet"]),
    "item_id of fractions": (
        lambda t: t.items.update(item_id=pa.array([float(number) for number in range(12)])),
        "column_type",
        ["'item_id'", "must be string or integer, is double"],
    ),
    "text attribute": (
        lambda t: t.items.update(attr_quality=pa.array(["yes", "no"] * 6)),
        "column_type",
        ["'attr_quality'", "must be boolean, or 0 and 1, is string"],
    ),
    "attribute of counts": (
        lambda t: t.items.update(attr_quality=pa.array([0, 7] * 6)),
        "readable_value",
        ["'attr_quality'", "row 1: '7'", "6x"],
    ),
    "text embedding": (
        lambda t: t.items.update(embedding=pa.array(["[1, 2]"] * 12)),
        "column_type",
        ["'embedding'", "must be list or tensor of numbers", "is string"],
    ),
    "numeric title": (lambda t: t.items.update(title=pa.array(range(12))), "column_type", ["'title'", "is int64"]),
    "badly named domain": (
        lambda t: t.items.update({"attr_10": pa.array([True] * 12)}),
        "domain_name",
        ["'attr_10'", "'10' is no name"],
    ),
    "two columns of one domain": (
        lambda t: t.items.update({"attr_Quality": pa.array([True] * 12)}),
        "domain_name",
        ["'attr_Quality'", "'quality', as attr_quality"],
    ),
    "no items": (
        lambda t: t.items.update({name: column[:0] for name, column in t.items.items()}),
        "items_not_empty",
        ["items.parquet"],
    ),
    "null item_id": (lambda t: t.set("items", "item_id", 3, None), "not_null", ["'item_id'", "row 3"]),
    "null embedding": (lambda t: t.set("items", "embedding", 5, None), "not_null", ["'embedding'", "row 5"]),
    "null embedding in a list of free length": (
        lambda t: (t.set_embedding(0, [1, 2, 3, 4]), t.set("items", "embedding", 5, None)),
        "not_null",
        ["'embedding'", "row 5", "i5"],
    ),
    "empty item_id": (lambda t: t.set("items", "item_id", 6, ""), "item_id_not_empty", ["'item_id'", "row 6"]),
    "repeated item_id": (
        lambda t: t.set("items", "item_id", 7, "i1"),
        "item_id_unique",
        ["'item_id'", "row 7", "'i1'"],
    ),
    "short embedding": (
        lambda t: t.set_embedding(2, [1.0, 2.0]),
        "embedding_dimension",
        ["'embedding'", "row 2", "not 4: 2"],
    ),
    "empty embeddings": (
        lambda t: t.items.update(embedding=pa.array([[]] * 12, pa.list_(pa.float32()))),
        "embedding_dimension",
        ["row 0", "12x"],
    ),
    "NaN": (lambda t: t.set_embedding(8, [1, 2, float("nan"), 4]), "embedding_finite", ["row 8", "nan at number 2"]),
    "infinity": (lambda t: t.set_embedding(9, [float("-inf"), 2, 3, 4]), "embedding_finite", ["row 9", "-inf"]),
    "null number": (lambda t: t.set_embedding(1, [1, 2, 3, None]), "embedding_finite", ["row 1", "number 3"]),
    "zero embedding": (lambda t: t.set_embedding(10, [0, 0, 0, 0]), "embedding_non_zero", ["row 10", "4 zeros"]),
    "no order column": (lambda t: t.interactions.pop("position"), "one_order_column", ["interactions.parquet"]),
    "two order columns": (
        lambda t: t.interactions.update(timestamp=pa.array([datetime(2026, 1, 1)] * 20)),
        "one_order_column",
        ["position", "timestamp"],
    ),
    "no sequence_id": (lambda t: t.interactions.pop("sequence_id"), "column_present", ["'sequence_id'"]),
    "no item_id": (lambda t: t.interactions.pop("item_id"), "column_present", ["interactions.parquet", "'item_id'"]),
    "text position": (
        lambda t: t.interactions.update(position=pa.array(["1"] * 20)),
        "column_type",
        ["'position'", "must be integer, is string"],
    ),
    "no interactions": (
        lambda t: t.interactions.update({name: column[:0] for name, column in t.interactions.items()}),
        "interactions_not_empty",
        ["interactions.parquet", "0 rows"],
    ),
    "only short sequences": (
        lambda t: t.interactions.update(sequence_id=pa.array([f"s{number}" for number in range(20)])),
        "interactions_not_empty",
        ["20 sequences too short"],
    ),
}


def load_items(source: Path) -> Catalog:
    """The catalogue of an input folder in which no row may be bad."""
    with TemporaryDirectory() as quarantine:
        return validate_logs(source, Path(quarantine), ValidationParams(item_share_max=0.0))[0]


@pytest.mark.parametrize("case", BROKEN)
def test_a_breach_is_refused_with_file_column_row_and_rule(case, tables, source, quarantine):
    breaking, rule, words = BROKEN[case]
    breaking(tables)
    with pytest.raises(ContractError) as caught:
        validate_logs(tables.write(source), quarantine)
    for word in (f"rule {rule}", RULES[rule].meaning, *words):
        assert word in str(caught.value)


def test_the_sound_folder_is_accepted(tables, source, quarantine):
    catalog, report = validate_logs(tables.write(source), quarantine)
    assert catalog.item_ids.tolist() == [f"i{number}" for number in range(12)]
    assert catalog.titles.tolist() == [f"Item {number}" for number in range(12)]
    assert catalog.domains == ["quality"]
    assert report.positives == {"quality": 4}
    assert (report.items, report.dimension, report.retrieval_labels) == (12, 4, None)


def test_all_breaches_are_reported_together_with_three_examples_each(tables, source):
    for row in (1, 3, 5, 7):
        tables.set("items", "item_id", row, None)
        tables.set_embedding(row, [0.0] * 4)
    tables.set("items", "item_id", 0, "")
    with pytest.raises(ContractError) as caught:
        load_items(tables.write(source))
    message = str(caught.value)
    assert "rule item_id_not_empty" in message
    for rule in ("not_null", "embedding_non_zero"):
        line = next(line for line in message.splitlines() if f"rule {rule}" in line)
        assert "broken 4x" in line
        assert [f"row {row}:" in line for row in (1, 3, 5, 7)] == [True, True, True, False]


def test_missing_items_are_named(tables, source, quarantine):
    (tables.write(source) / "items.parquet").unlink()
    with pytest.raises(ContractError, match=r"items\.parquet: rule file_present .*neither exists"):
        validate_logs(source, quarantine)


def test_a_file_beside_a_folder_of_the_same_table_is_ambiguous(tables, source):
    tables.write(source)
    (source / "items").mkdir()
    with pytest.raises(ContractError, match="both exist"):
        load_items(source)


def test_a_folder_without_parquet_is_refused(tables, source):
    (source / "items").mkdir()
    (source / "items" / "_temporary.parquet").write_text("ignored")
    with pytest.raises(ContractError, match=r"no \*.parquet, \*.csv or \*.jsonl under"):
        load_items(source)


def test_a_missing_input_folder_is_named(tmp_path, quarantine):
    with pytest.raises(ContractError, match="nowhere is not a folder"):
        validate_logs(tmp_path / "nowhere", quarantine)


def test_a_file_that_is_not_parquet_is_named(tables, source):
    tables.write(source)
    (source / "items.parquet").write_text("item_id,embedding")
    with pytest.raises(ContractError, match=r"items\.parquet: rule file_readable"):
        load_items(source)


def test_a_damaged_page_is_named(tables, source):
    file = tables.write(source) / "items.parquet"
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56
    file.write_bytes(content)
    with pytest.raises(ContractError, match=r"items\.parquet, column 'item_id', row 0: rule file_readable"):
        load_items(source)


def _write_parts(source: Path, tables, cut: int) -> None:
    (source / "items").mkdir()
    table = pa.table(tables.items)
    pq.write_table(table[:cut], source / "items" / "part-0.parquet")
    pq.write_table(table[cut:], source / "items" / "part-1.parquet")


def test_parts_give_the_same_items_as_one_file(tables, source, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    _write_parts(source, tables, 5)
    parts, one = load_items(source), load_items(tables.write(whole))
    assert np.array_equal(parts.embeddings, one.embeddings)
    assert parts.item_ids.tolist() == one.item_ids.tolist()


def test_rows_are_counted_inside_their_part(tables, source):
    tables.set("items", "item_id", 7, "i1")
    tables.set("items", "item_id", 9, None)
    _write_parts(source, tables, 5)
    with pytest.raises(ContractError, match=r"items/part-1\.parquet, column 'item_id': rule not_null.*row 4"):
        load_items(source)
    tables.set("items", "item_id", 9, "i9")
    _rewrite(source, tables)
    with pytest.raises(ContractError, match=r"items/part-1\.parquet, column 'item_id': rule item_id_unique.*row 2"):
        load_items(source)


def _rewrite(source: Path, tables) -> None:
    for file in (source / "items").iterdir():
        file.unlink()
    (source / "items").rmdir()
    _write_parts(source, tables, 5)


@pytest.mark.parametrize("column", ["attr_quality", "title"])
def test_parts_with_different_columns_are_refused(column, tables, source):
    _write_parts(source, tables, 5)
    first = source / "items" / "part-0.parquet"
    pq.write_table(pq.read_table(first).append_column("attr_other", pa.array([True] * 5)).drop([column]), first)
    with pytest.raises(ContractError, match="rule column_present") as caught:
        load_items(source)
    assert f"'{column}'" in str(caught.value)
    assert "'attr_other'" in str(caught.value)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 4)])
def test_any_list_of_floats_is_read_alike_when_all_rows_agree(kind, tables, source):
    expected = np.array(tables.items["embedding"].to_pylist(), dtype=np.float32)
    tables.items["embedding"] = pa.array(tables.items["embedding"].to_pylist(), kind)
    found = load_items(tables.write(source)).embeddings
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_any_string_type_is_read_alike(kind, tables, source):
    for column in ("item_id", "title"):
        tables.items[column] = tables.items[column].cast(kind)
    assert load_items(tables.write(source)).item_ids[3] == "i3"


def test_a_number_beyond_float32_is_reported_as_infinite(tables, source):
    rows = tables.items["embedding"].to_pylist()
    rows[2][1] = 1e300
    tables.items["embedding"] = pa.array(rows, pa.list_(pa.float64()))
    with pytest.raises(ContractError, match=r"embedding_finite.*row 2: inf at number 1"):
        load_items(tables.write(source))


def test_an_absent_title_reads_as_empty_and_a_missing_column_as_none(tables, source):
    tables.set("items", "title", 2, None)
    assert load_items(tables.write(source)).titles[2] == ""
    del tables.items["title"]
    assert load_items(tables.write(source)).titles is None


@settings(deadline=None)
@given(
    vectors=arrays(np.float32, (3, 5), elements=st.floats(-(2.0**60), 2.0**60, width=32)).filter(
        lambda v: v.any(1).all()
    )
)
def test_embeddings_come_out_with_unit_length_whatever_their_scale(vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("input")
    columns = {"item_id": ["a", "b", "c"], "attr_x": [True, False, True], "embedding": vectors.tolist()}
    schema = pa.schema([("item_id", pa.string()), ("attr_x", pa.bool_()), ("embedding", pa.list_(pa.float32()))])
    pq.write_table(pa.table(columns, schema=schema), folder / "items.parquet")
    np.testing.assert_allclose(np.linalg.norm(load_items(folder).embeddings, axis=1), 1.0, atol=1e-5)


def _labels(**changed) -> pa.Table:
    sound = {
        "request_id": pa.array(["r1", "r1"]),
        "timestamp": pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("us")),
        "domain": pa.array(["quality"] * 2),
        "anchor_item_id": pa.array(["i0"] * 2),
        "rank": pa.array([1, 2]),
        "item_id": pa.array(["i1", "i2"]),
        "label": pa.array([True, False]),
    }
    return pa.table(sound | changed)


def test_retrieval_labels_are_counted(tables, source, quarantine):
    folder = tables.write(source) / "retrieval_labels" / "date=2026-01-01"
    folder.mkdir(parents=True)
    pq.write_table(_labels(), folder / "part.parquet")
    assert validate_logs(source, quarantine)[1].retrieval_labels == 2


def test_retrieval_labels_of_a_wrong_type_are_refused(tables, source, quarantine):
    pq.write_table(_labels(label=pa.array(["yes", "no"])), tables.write(source) / "retrieval_labels.parquet")
    with pytest.raises(ContractError, match=r"labels\.parquet, column 'label'.*must be boolean, or 0 and 1, is string"):
        validate_logs(source, quarantine)


def test_retrieval_labels_that_modit_writes_keep_the_contract():
    assert LABEL_SCHEMA.names == list(LABEL_COLUMNS)
    assert all(LABEL_COLUMNS[field.name].accepts(field.type) for field in LABEL_SCHEMA)
