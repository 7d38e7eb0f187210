"""One small catalogue in every form that people have: each is understood, and all give the same catalogue."""

from __future__ import annotations

import decimal
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest

from modit.cli import main
from modit.core.errors import ContractError
from modit.data.catalog import NOT_SCORED, Catalog
from modit.data.params import ValidationParams
from modit.data.validate import validate_logs

ITEMS, ROWS = 12, 40
FIRST = datetime(1995, 3, 4, 5, 6, 7, tzinfo=UTC)
# Powers of two are the same in float16 and int8 as in float32.
VECTORS = (2.0 ** np.random.default_rng(0).integers(0, 6, (ITEMS, 4))).astype(np.float32)
TIMES = [FIRST + timedelta(hours=3 * number) for number in range(ROWS)]


def plain() -> dict[str, dict[str, list]]:
    rng = np.random.default_rng(1)
    return {
        "items": {
            "item_id": [str(100 + number) for number in range(ITEMS)],
            "title": [f"Item {number}, or “{number}”" for number in range(ITEMS)],
            "embedding": VECTORS.tolist(),
            "attr_popular": [number % 3 == 0 for number in range(ITEMS)],
            "attr_popular_items": [number % 4 == 0 for number in range(ITEMS)],
        },
        "interactions": {
            "sequence_id": [str(value) for value in rng.integers(0, 6, ROWS)],
            "item_id": [str(100 + value) for value in rng.integers(0, ITEMS, ROWS)],
            "timestamp": TIMES,
        },
        "retrieval_labels": {
            "request_id": [str(number // 3) for number in range(12)],
            "timestamp": [TIMES[number // 3] for number in range(12)],
            "domain": ["popular"] * 12,
            "anchor_item_id": [str(100 + number // 3) for number in range(12)],
            "rank": [number % 3 + 1 for number in range(12)],
            "item_id": [str(105 + number % 3) for number in range(12)],
            "label": [number % 2 == 0 for number in range(12)],
        },
    }


KINDS = {
    "embedding": pa.list_(pa.float32()),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "rank": pa.int32(),
    "label": pa.bool_(),
    "attr_popular": pa.bool_(),
    "attr_popular_items": pa.bool_(),
}


def tables() -> dict[str, pa.Table]:
    return {
        name: pa.table({column: pa.array(values, KINDS.get(column, pa.string())) for column, values in columns.items()})
        for name, columns in plain().items()
    }


def write(folder: Path, content: dict[str, pa.Table]) -> None:
    for name, table in content.items():
        pq.write_table(table, folder / f"{name}.parquet")


Form = Callable[[Path], None]
FORMS: dict[str, Form] = {}


def form(function: Form) -> Form:
    FORMS[function.__name__] = function
    return function


def changed(name: str, table: str, column: str, change: Callable[[pa.ChunkedArray], pa.Array], to: str = "") -> None:
    """Adds a form in which one column is another."""

    def write_changed(folder: Path) -> None:
        content = tables()
        for each in content if table == "all" else (table,):
            old = content[each]
            if column in old.column_names:
                content[each] = old.set_column(
                    old.schema.get_field_index(column), to or column, change(old[column].combine_chunks())
                )
        write(folder, content)

    FORMS[name] = write_changed


def _tensor(kind: pa.DataType, shape: list[int]) -> Callable[[pa.Array], pa.Array]:
    def change(column: pa.Array) -> pa.Array:
        flat = pa.array(np.array(column.to_pylist()).ravel().astype(kind.to_pandas_dtype()), kind)
        storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape)))
        return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, shape), storage)

    return change


def _made(column: pa.Array, value: Callable, kind: pa.DataType) -> pa.Array:
    return pa.array([value(each) for each in column.to_pylist()], kind)


def _made(column: pa.Array, value: Callable, kind: pa.DataType) -> pa.Array:
    return pa.array([value(each) for each in column.to_pylist()], kind)


def _epoch(unit: str) -> Callable[[pa.Array], pa.Array]:
    return lambda column: column.cast(pa.timestamp(unit, tz="UTC")).cast(pa.int64())


def _text_times(shape: str) -> Callable[[pa.Array], pa.Array]:
    return lambda column: pa.array([moment.strftime(shape) for moment in column.to_pylist()])


changed("plain", "items", "title", lambda c: c)
changed("category item ids", "all", "item_id", lambda c: c.dictionary_encode())
changed("category sequence ids", "interactions", "sequence_id", lambda c: c.dictionary_encode())
changed("large_string ids", "all", "item_id", lambda c: c.cast(pa.large_string()))
changed("string_view ids", "all", "item_id", lambda c: c.cast(pa.string_view()))
changed("integer item ids", "all", "item_id", lambda c: c.cast(pa.int64()))
changed("integer anchors", "retrieval_labels", "anchor_item_id", lambda c: c.cast(pa.int32()))
changed("integer sequence ids", "interactions", "sequence_id", lambda c: c.cast(pa.uint64()))
changed("categories of integers", "interactions", "sequence_id", lambda c: c.cast(pa.int64()).dictionary_encode())
changed("decimal ids", "all", "item_id", lambda c: _made(c, decimal.Decimal, pa.decimal128(9, 0)))
changed("float64 lists", "items", "embedding", lambda c: c.cast(pa.large_list(pa.float64())))
changed(
    "float16 lists",
    "items",
    "embedding",
    lambda c: pa.array([np.float16(v) for v in c.to_pylist()], pa.list_(pa.float16())),
)
changed("int8 lists", "items", "embedding", lambda c: c.cast(pa.list_(pa.int8())))
changed("uint16 lists", "items", "embedding", lambda c: c.cast(pa.list_(pa.uint16())))
changed("fixed-size lists", "items", "embedding", lambda c: c.cast(pa.list_(pa.float32(), 4)))
changed("decimal lists", "items", "embedding", lambda c: c.cast(pa.list_(pa.decimal128(9, 2))))
changed("fixed_shape_tensor", "items", "embedding", _tensor(pa.float32(), [4]))
changed("fixed_shape_tensor of two dimensions", "items", "embedding", _tensor(pa.float16(), [2, 2]))
changed("not normalised", "items", "embedding", lambda c: pa.array((8 * np.array(c.to_pylist())).tolist()))
changed("0 and 1 as integers", "items", "attr_popular", lambda c: c.cast(pa.int8()))
changed("0 and 1 as floats", "items", "attr_popular", lambda c: c.cast(pa.int8()).cast(pa.float64()))
changed("0 and 1 as decimals", "items", "attr_popular", lambda c: c.cast(pa.int8()).cast(pa.decimal128(3, 0)))
changed("labels of 0 and 1", "retrieval_labels", "label", lambda c: c.cast(pa.int64()))
changed("epoch seconds", "all", "timestamp", _epoch("s"))
changed("epoch milliseconds", "all", "timestamp", _epoch("ms"))
changed("epoch microseconds", "all", "timestamp", _epoch("us"))
changed("epoch nanoseconds", "all", "timestamp", _epoch("ns"))
changed("epoch seconds as floats", "all", "timestamp", lambda c: _epoch("s")(c).cast(pa.float64()))
changed("nanosecond times", "all", "timestamp", lambda c: c.cast(pa.timestamp("ns", tz="UTC")))
changed("second times", "all", "timestamp", lambda c: c.cast(pa.timestamp("s", tz="UTC")))
changed("naive times", "all", "timestamp", lambda c: c.cast(pa.timestamp("us")))
changed("times of another zone", "all", "timestamp", lambda c: c.cast(pa.timestamp("us", tz="America/New_York")))
changed("ISO text", "all", "timestamp", _text_times("%Y-%m-%dT%H:%M:%S"))
changed("ISO text in UTC", "all", "timestamp", _text_times("%Y-%m-%dT%H:%M:%SZ"))
changed("ISO text with an offset", "all", "timestamp", lambda c: pa.array([str(v.astimezone()) for v in c.to_pylist()]))
changed("user_id", "interactions", "sequence_id", lambda c: c, "user_id")
changed("sessionId", "interactions", "sequence_id", lambda c: c, "sessionId")
changed("product_id", "all", "item_id", lambda c: c, "product_id")
changed("id of items", "items", "item_id", lambda c: c.cast(pa.int64()), "id")
changed("vector", "items", "embedding", lambda c: c, "vector")
changed("a domain with capitals and a space", "items", "attr_popular_items", lambda c: c, "attr_Popular Items")


@form
def pandas_index(folder: Path) -> None:
    for name, table in tables().items():
        frame = table.to_pandas()
        frame = frame.set_index("item_id") if name == "items" else frame.sample(frac=1, random_state=0).sort_index()
        frame.to_parquet(folder / f"{name}.parquet")


@form
def partitions_and_many_files(folder: Path) -> None:
    content = tables()
    pq.write_table(content["items"], folder / "items.parquet", row_group_size=5)
    for name in ("interactions", "retrieval_labels"):
        for row in range(0, len(content[name]), 5):
            place = folder / name / f"date={content[name]['timestamp'][row].as_py():%Y-%m-%d}"
            place.mkdir(parents=True, exist_ok=True)
            pq.write_table(content[name].slice(row, 5), place / f"{row:03}.parquet")


@form
def files_of_several_types(folder: Path) -> None:
    content = tables()
    (folder / "items").mkdir()
    pq.write_table(content["items"].slice(0, 5), folder / "items" / "a.parquet")
    rest = content["items"].slice(5)
    ids = rest["item_id"].cast(pa.int64())
    pq.write_table(rest.set_column(0, "item_id", ids), folder / "items" / "b.parquet")
    write(folder, {name: content[name] for name in ("interactions", "retrieval_labels")})


def _csv(table: pa.Table) -> str:
    frame = table.to_pandas()
    if "embedding" in frame:
        frame["embedding"] = [json.dumps(vector.tolist()) for vector in frame["embedding"]]
    return frame.to_csv(index=False)


@form
def csv_files(folder: Path) -> None:
    for name, table in tables().items():
        (folder / f"{name}.csv").write_text(_csv(table))


@form
def csv_of_semicolons_with_arrays_as_numpy_prints_them(folder: Path) -> None:
    for name, table in tables().items():
        frame = table.to_pandas()
        frame.to_csv(folder / f"{name}.csv", index=False, sep=";", encoding="utf-8-sig")


@form
def csv_by_arrow(folder: Path) -> None:
    content = tables()
    content["items"] = content["items"].set_column(
        2, "embedding", pa.array([" ".join(map(str, vector)) for vector in VECTORS])
    )
    for name, table in content.items():
        pc_csv.write_csv(table, folder / f"{name}.csv")


@form
def compressed_csv_in_a_folder(folder: Path) -> None:
    for name, table in tables().items():
        (folder / name).mkdir()
        for row in range(0, len(table), 7):
            with gzip.open(folder / name / f"part-{row:02}.csv.gz", "wt") as file:
                file.write(_csv(table.slice(row, 7)))


def _json_rows(table: pa.Table) -> list[dict]:
    return [
        {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
        for row in table.to_pylist()
    ]


@form
def json_lines(folder: Path) -> None:
    for name, table in tables().items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _json_rows(table)))


@form
def json_arrays_and_compressed_lines(folder: Path) -> None:
    for name, table in tables().items():
        rows = _json_rows(table)
        if name == "items":
            (folder / "items.json").write_text(json.dumps(rows))
        else:
            with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))


@form
def mapped_columns(folder: Path) -> None:
    content = tables()
    names = {"item_id": "code", "attr_popular": "label_popular", "attr_popular_items": "Popular Items", "title": "text"}
    content["items"] = content["items"].rename_columns([names.get(n, n) for n in content["items"].column_names])
    log = content["interactions"]
    log = log.set_column(2, "when", log["timestamp"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()))
    content["interactions"] = log.rename_columns(["who", "what", "when"])
    content["retrieval_labels"] = content["retrieval_labels"].rename_columns(
        [{"label": "verdict", "anchor_item_id": "seed"}.get(n, n) for n in content["retrieval_labels"].column_names]
    )
    write(folder, content)
    (folder / "mapping.yaml").write_text(
        """
items:
  item_id: code
  title: text
  domains: {popular: label_popular, popular_items: Popular Items}
interactions: {sequence_id: who, item_id: what, timestamp: when, timestamp_unit: ms}
retrieval_labels: {anchor_item_id: seed}
"""
    )


@form
def mapped_by_json_with_a_list_of_domains(folder: Path) -> None:
    content = tables()
    content["items"] = content["items"].rename_columns(["item_id", "title", "embedding", "Popular", "Popular Items"])
    write(folder, content)
    (folder / "mapping.json").write_text(json.dumps({"items": {"domains": ["Popular", "Popular Items"]}}))


@form
def label_columns(folder: Path) -> None:
    content = tables()
    content["items"] = content["items"].rename_columns(
        ["item_id", "title", "embedding", "label_popular", "label_popular_items"]
    )
    write(folder, content)


def read(folder: Path, tmp_path: Path) -> tuple[Catalog, list[dict]]:
    from modit.data.validate import inspect
    from modit.data.window import Window

    quarantine = tmp_path / "quarantine"
    quarantine.mkdir(exist_ok=True)
    found = inspect(folder, quarantine, ValidationParams(), Window())
    assert found.breached == []
    assert found.labels is not None
    assert not found.report.quarantined
    labels = found.labels.rows.to_pylist()
    ids = found.items.item_ids
    return found.catalog, [row | {"anchor": str(ids[row["anchor"]]), "item": str(ids[row["item"]])} for row in labels]


def assert_equal(found: Catalog, expected: Catalog) -> None:
    assert found.item_ids.tolist() == expected.item_ids.tolist()
    assert found.titles.tolist() == expected.titles.tolist()
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-7)
    assert found.domains == expected.domains
    for domain in expected.domains:
        assert found.verdicts[domain].tolist() == expected.verdicts[domain].tolist()
    for name in ("offsets", "items", "times"):
        assert getattr(found.sequences, name).tolist() == getattr(expected.sequences, name).tolist()


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> tuple[Catalog, list[dict]]:
    folder = tmp_path_factory.mktemp("plain")
    write(folder, tables())
    catalog, labels = read(folder, tmp_path_factory.mktemp("expected"))
    return catalog, labels


def test_the_plain_form_is_what_was_written(expected):
    catalog, labels = expected
    assert catalog.item_ids.tolist() == plain()["items"]["item_id"]
    assert catalog.verdicts["popular"].tolist() == [int(number % 3 == 0) for number in range(ITEMS)]
    assert sorted(catalog.sequences.times.tolist()) == [int(moment.timestamp()) * 1_000_000 for moment in TIMES]
    names = {"anchor_item_id": "anchor", "item_id": "item"}
    rows = tables()["retrieval_labels"].to_pylist()
    assert labels == [{names.get(column, column): value for column, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_gives_the_same_catalogue(name, expected, tmp_path):
    folder = tmp_path / "catalogue"
    folder.mkdir()
    FORMS[name](folder)
    catalog, labels = read(folder, tmp_path)
    assert_equal(catalog, expected[0])
    assert labels == expected[1]


@pytest.mark.parametrize("write_form", ["parquet", "floats", "csv", "jsonl"])
def test_a_null_verdict_is_not_scored(write_form, expected, tmp_path):
    content = tables()
    verdicts = [None if number % 2 else number % 3 == 0 for number in range(ITEMS)]
    kind = pa.float64() if write_form == "floats" else pa.bool_()
    column = pa.array([value if value is None else kind.to_pandas_dtype()(value) for value in verdicts], kind)
    content["items"] = content["items"].set_column(3, "attr_popular", column)
    write(tmp_path, content)
    if write_form in ("csv", "jsonl"):
        (tmp_path / "items.parquet").unlink()
        rows = "".join(json.dumps(row) + "\n" for row in _json_rows(content["items"]))
        (tmp_path / f"items.{write_form}").write_text(_csv(content["items"]) if write_form == "csv" else rows)
    catalog, _ = read(tmp_path, tmp_path)
    assert catalog.verdicts["popular"].tolist() == [NOT_SCORED if v is None else int(v) for v in verdicts]
    assert catalog.verdicts["popular_items"].tolist() == expected[0].verdicts["popular_items"].tolist()


def test_a_catalogue_without_interactions_has_no_sequences(tmp_path):
    content = tables()
    write(tmp_path, {"items": content["items"]})
    catalog, report = validate_logs(tmp_path, tmp_path)
    assert (len(catalog), len(catalog.sequences), report.interactions.rows) == (ITEMS, 0, 0)


def test_the_day_after_the_epoch_began_is_a_date(tmp_path):
    content = tables()
    early = [datetime(1970, 1, 2, tzinfo=UTC) + timedelta(minutes=number) for number in range(ROWS)]
    log = content["interactions"]
    content["interactions"] = log.set_column(2, "timestamp", pa.array(early, pa.timestamp("us", tz="UTC")))
    write(tmp_path, {name: content[name] for name in ("items", "interactions")})
    catalog, report = validate_logs(tmp_path, tmp_path)
    assert catalog.sequences.times.min() == 86_400_000_000
    assert report.quarantined == {}


REFUSED = {
    "a column that may be two": (
        {"interactions.user_id": 0, "interactions.session_id": 0, "-interactions.sequence_id": 0},
        "",
        "several columns may be it: user_id, session_id; name one in mapping.yaml",
    ),
    "a mapped column that is not there": ({}, "items: {title: words}", "mapping.yaml says title is 'words'"),
    "a table that the contract does not have": ({}, "users: {id: a}", "no such table; allowed: items, interactions"),
    "a column that the contract does not have": ({}, "items: {colour: title}", "'items.colour': rule mapping_valid"),
    "a unit of time that there is not": (
        {},
        "interactions: {timestamp_unit: days}",
        "is 'days'; allowed: s, ms, us, ns",
    ),
    "a mapping that is not YAML": ({}, "items: [", "mapping.yaml: rule mapping_valid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_understood_is_refused_with_what_is_allowed(case, tmp_path):
    columns, mapping, message = REFUSED[case]
    content = tables()
    for name in columns:
        table, column = name.lstrip("-").split(".")
        here = content[table]
        content[table] = here.drop([column]) if name[0] == "-" else here.append_column(column, here["sequence_id"])
    write(tmp_path, content)
    if mapping:
        (tmp_path / "mapping.yaml").write_text(mapping)
    with pytest.raises(ContractError) as caught:
        validate_logs(tmp_path, tmp_path)
    assert message in str(caught.value)


def test_a_row_of_a_csv_file_that_cannot_be_read_is_set_aside_with_file_row_and_text(tmp_path):
    frames = {name: table.to_pandas() for name, table in tables().items()}
    for name in ("items", "interactions"):
        (tmp_path / f"{name}.csv").write_text(_csv(pa.Table.from_pandas(frames[name])))
    lines = (tmp_path / "interactions.csv").read_text().splitlines()
    lines[4] = lines[4].rpartition(",")[0] + ",yesterday"
    (tmp_path / "interactions.csv").write_text("\n".join(lines) + "\n")
    validate_logs(tmp_path, tmp_path, ValidationParams(timestamp_share_max=0.1))
    (row,) = pq.read_table(tmp_path / "interactions.parquet").to_pylist()
    assert (row["file"], row["row"], row["rule"]) == ("interactions.csv", 3, "readable_value")
    assert row["timestamp"] == "yesterday"


def test_a_csv_line_with_too_few_fields_is_named_and_none_is_dropped_in_silence(tmp_path):
    write(tmp_path, {"items": tables()["items"]})
    (tmp_path / "interactions.csv").write_text("sequence_id,item_id,position\na,100,1\na,101\na,102,3\n")
    with pytest.raises(ContractError, match=r"interactions\.csv: rule file_readable.*Line: 3"):
        validate_logs(tmp_path, tmp_path)


def test_check_says_what_was_understood_and_what_was_converted(tmp_path, capsys):
    FORMS["mapped_columns"](tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for words in (
        "a run would take it",
        "items: items.parquet (Parquet), 12 items, embeddings of 4 numbers",
        "item_id              column 'code', string",
        "domain popular_items column 'Popular Items', bool: 3 true, 9 false",
        "timestamp            column 'when', int64, epoch milliseconds",
        "40 rows",
    ):
        assert words in said


def test_check_says_what_would_be_refused_and_which_option_lets_it_through(tmp_path, capsys):
    content = tables()
    log = content["interactions"]
    content["interactions"] = pa.concat_tables([log, log.slice(0, 8)])
    write(tmp_path, content)
    assert main(["check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "a run would refuse it" in said
    assert "8 of 48 rows (16.67%), allowed 5.00%" in said
    assert """OVERRIDES='{"validate_logs.duplicate_share_max": 0.17}'""" in said


def test_check_takes_a_mapping_file_from_elsewhere_and_says_why_a_folder_cannot_be_read(tmp_path, capsys):
    folder = tmp_path / "catalogue"
    folder.mkdir()
    FORMS["mapped_columns"](folder)
    (folder / "mapping.yaml").rename(tmp_path / "names.yaml")
    assert main(["check", str(folder), "--mapping", str(tmp_path / "names.yaml")]) == 0
    capsys.readouterr()
    assert main(["check", str(folder)]) == 1
    assert "rule column_present" in capsys.readouterr().out


def test_pandas_categories_of_a_frame_are_read(tmp_path, expected):
    for name, table in tables().items():
        frame = table.to_pandas()
        for column in frame.columns:
            if column.endswith("_id"):
                frame[column] = pd.Categorical(frame[column])
        frame.to_parquet(tmp_path / f"{name}.parquet")
    catalog, labels = read(tmp_path, tmp_path)
    assert_equal(catalog, expected[0])
    assert labels == expected[1]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_nan_is_no_verdict(kind, tmp_path):
    content = tables()
    values = [np.nan if number % 2 else number % 3 == 0 for number in range(ITEMS)]
    column = pa.array(np.array(values, kind.to_pandas_dtype()), kind)
    content["items"] = content["items"].set_column(3, "attr_popular", column)
    write(tmp_path, content)
    expected = [NOT_SCORED if number % 2 else int(number % 3 == 0) for number in range(ITEMS)]
    assert read(tmp_path, tmp_path)[0].verdicts["popular"].tolist() == expected


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "NA", "N/A", "null", "None", "<NA>"])
def test_what_writers_put_for_a_missing_verdict_in_a_text_is_no_verdict(missing, tmp_path):
    content = tables()
    words = [missing if number % 2 else str(number % 3 == 0) for number in range(ITEMS)]
    content["items"] = content["items"].set_column(3, "attr_popular", pa.array(words))
    write(tmp_path, {name: content[name] for name in ("interactions", "retrieval_labels")})
    (tmp_path / "items.csv").write_text(_csv(content["items"]))
    expected = [NOT_SCORED if number % 2 else int(number % 3 == 0) for number in range(ITEMS)]
    assert read(tmp_path, tmp_path)[0].verdicts["popular"].tolist() == expected


def test_a_missing_column_says_how_another_name_is_mapped(tmp_path):
    content = tables()
    content["items"] = content["items"].rename_columns(["code", *content["items"].column_names[1:]])
    write(tmp_path, content)
    with pytest.raises(ContractError, match=r"named in mapping.yaml, such as 'items: \{item_id: code\}'"):
        validate_logs(tmp_path, tmp_path)


def test_an_item_with_two_bad_verdicts_counts_once(tmp_path, capsys):
    content = tables()
    for place in (3, 4):
        column = pa.array([7] * 3 + [0] * 9)
        content["items"] = content["items"].set_column(place, content["items"].column_names[place], column)
    write(tmp_path, content)
    assert main(["check", str(tmp_path)]) == 1
    assert "- 3 of 12 rows (25.00%), allowed 1.00%" in capsys.readouterr().out
