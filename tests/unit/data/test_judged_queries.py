"""Queries and their labels are an optional part of a catalogue; bad rows are set aside by rule, with file and value."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.core.errors import ContractError, InsufficientDataError
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.params import ValidationParams
from modit.data.splits import TEST, TRAIN, VALIDATION
from modit.data.validate import inspect, validate_logs
from modit.data.window import Window

LENIENT = ValidationParams(query_share_max=1.0)
QUERIES = 5


@pytest.fixture
def folder(tables, source):
    """The little catalogue, with five queries of two labels each."""
    tables.write(source)
    pq.write_table(
        pa.table(
            {
                "query_id": list(range(QUERIES)),
                "text": ["red lipstick", "Handseife grün", "brush", "0.5 in. pipe", "ручка"],
                "split": ["train", "train", "valid", "test", None],
            }
        ),
        source / "queries.parquet",
    )
    items = pq.read_table(source / "items.parquet")["item_id"].to_pylist()
    labels = [(query, items[(query + n) % len(items)], 3.0 - n) for query in range(QUERIES) for n in range(2)]
    pq.write_table(
        pa.table(dict(zip(("query_id", "item_id", "relevance"), zip(*labels, strict=True), strict=True))),
        source / "labels.parquet",
    )
    return source


def change(folder, table, column, row, value):
    path = folder / f"{table}.parquet"
    content = pq.read_table(path)
    values = content[column].to_pylist()
    values[row] = value
    place = content.column_names.index(column)
    pq.write_table(content.set_column(place, column, pa.array(values, content[column].type)), path)


def read(folder, quarantine, params=LENIENT):
    return inspect(folder, quarantine, params, Window()).queries


def test_texts_of_any_language_splits_and_labels_come_back_from_disk(folder, quarantine, tmp_path):
    judged = read(folder, quarantine, ValidationParams()).judged
    assert judged.texts.tolist()[1::3] == ["Handseife grün", "ручка"]
    assert judged.split.tolist()[:4] == [TRAIN, TRAIN, VALIDATION, TEST]
    items, relevance = judged.labels(4)
    assert (items.tolist(), relevance.tolist()) == ([4, 5], [3.0, 2.0])
    judged.save(tmp_path)
    again = JudgedQueries.load(tmp_path)
    for name in ("query_ids", "texts", "split", "offsets", "items", "relevance"):
        np.testing.assert_array_equal(getattr(again, name), getattr(judged, name))
    assert again.of(QueryPart.TEST).tolist()[0] == 3


def test_a_missing_split_is_drawn_by_the_text_alone(folder, quarantine, tmp_path):
    drawn = read(folder, quarantine).judged.split[4]
    change(folder, "queries", "query_id", 4, 77)
    change(folder, "queries", "text", 4, "РУЧКА")
    assert read(folder, quarantine).judged.split[4] == drawn


@pytest.mark.parametrize(
    ("table", "column", "value", "rule"),
    [
        ("queries", "text", "", "query_text"),
        ("queries", "text", " ?!", "query_text"),
        ("queries", "text", None, "null_in_query"),
        ("queries", "query_id", 0, "query_id_unique"),
        ("queries", "split", "holdout", "query_split"),
        ("labels", "item_id", "no-such-item", "unknown_judged_item"),
        ("labels", "query_id", 99, "unknown_query"),
        ("labels", "relevance", float("nan"), "null_in_judgement"),
        ("labels", "relevance", float("inf"), "relevance_range"),
        ("labels", "relevance", -1.0, "relevance_range"),
    ],
)
def test_a_bad_row_is_refused_by_file_column_rule_and_value_and_set_aside_alone(
    folder, quarantine, table, column, value, rule
):
    before = len(read(folder, quarantine).judged.items)
    change(folder, table, column, 2, value)
    with pytest.raises(ContractError, match=rf"{table}.parquet, column '{column}': rule {rule} .*broken 1x: row 2: "):
        validate_logs(folder, quarantine)
    found = read(folder, quarantine)
    assert found.counts[table].quarantined == {rule: 1}
    assert len(found.judged.items) == before - (2 if table == "queries" else 1)
    assert pq.read_table(quarantine / f"{table}.parquet")["rule"].to_pylist() == [rule]


def test_an_item_that_is_judged_twice_for_a_query_counts_once(folder, quarantine):
    change(folder, "labels", "item_id", 1, pq.read_table(folder / "labels.parquet")["item_id"][0].as_py())
    assert read(folder, quarantine).counts["labels"].quarantined == {"duplicate_judgement": 1}


def test_queries_without_labels_are_refused_and_a_catalogue_without_both_is_taken(folder, quarantine, tmp_path):
    (folder / "labels.parquet").unlink()
    with pytest.raises(ContractError, match=r"labels.parquet: rule file_present"):
        validate_logs(folder, quarantine)
    (folder / "queries.parquet").unlink()
    assert read(folder, quarantine) is None
    with pytest.raises(InsufficientDataError, match="no queries; search needs the tables queries"):
        JudgedQueries.load(tmp_path)
