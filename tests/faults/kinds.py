"""The kinds of bad input that the validation is held to: each column and each rule at least once."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.faults.injectors import (
    ITEMS,
    Change,
    Fault,
    Logs,
    Place,
    change_files,
    change_requests,
    convert,
    deliver_again,
    drop_column,
    move_in_time,
    new_items,
    rename_column,
    set_value,
    set_value_everywhere,
    shifted,
)

_UNSET_CLOCK, _WRONG_UNIT = datetime(1970, 1, 1, 0, 0, 5), datetime(2153, 4, 1)


def _row(table: str, name: str, column: str, rule: str, change: Change) -> Fault:
    return Fault(name, table, column, rule, refused=False, change=change)


def _window(table: str, name: str, column: str, rule: str, change: Change) -> Fault:
    return Fault(name, table, column, rule, refused=True, change=change)


def _item_faults(domain: str) -> list[Fault]:
    attribute = f"attr_{domain}"

    row, window = partial(_row, "items"), partial(_window, "items")

    return [
        row("items without an id", "item_id", "not_null", new_items("item_id", lambda v: None)),
        row("items whose id is the empty string", "item_id", "item_id_not_empty", new_items("item_id", lambda v: "")),
        row("items delivered twice", "item_id", "item_id_unique", _repeat_items),
        row("verdicts that are neither 0 nor 1", attribute, "readable_value", _odd_verdicts(attribute)),
        row("items without an embedding", "embedding", "not_null", new_items("embedding", lambda v: None)),
        row(
            "embeddings cut short", "embedding", "embedding_dimension", new_items("embedding", lambda v: v[:9].tolist())
        ),
        row("NaN in embeddings", "embedding", "embedding_finite", new_items("embedding", lambda v: [np.nan, *v[1:]])),
        row(
            "infinity in embeddings",
            "embedding",
            "embedding_finite",
            new_items("embedding", lambda v: [*v[:-1], np.inf]),
        ),
        row("null in embeddings", "embedding", "embedding_finite", new_items("embedding", lambda v: [None, *v[1:]])),
        row(
            "embeddings of zeros", "embedding", "embedding_non_zero", new_items("embedding", lambda v: (0 * v).tolist())
        ),
        row(
            "embeddings not normalised",
            "embedding",
            "embedding_norm",
            new_items("embedding", lambda v: (50 * v).tolist()),
        ),
        window("one item in twenty has NaN", "embedding", "embedding_finite", _many_nan),
        window(
            "item ids renumbered",
            "item_id",
            "unknown_item",
            convert("items", "item_id", lambda c: pa.array(range(len(c)))),
        ),
        window(
            "embeddings as text", "embedding", "column_type", convert("items", "embedding", lambda c: _texts(len(c)))
        ),
        window(
            "attribute as a score",
            attribute,
            "readable_value",
            convert("items", attribute, lambda c: pa.array(np.linspace(0.1, 0.9, len(c)))),
        ),
        window(
            "title as a number", "title", "column_type", convert("items", "title", lambda c: pa.array(range(len(c))))
        ),
        window("no embedding column", "embedding", "column_present", drop_column("items", "embedding")),
        window("no item_id column", "item_id", "column_present", drop_column("items", "item_id")),
        window("no attribute at all", attribute, "attribute_present", _without_attributes),
        window(
            "a domain twice", attribute, "domain_name", rename_column("items", attribute, f"+attr_{domain.title()}")
        ),
        window("an empty item table", "", "items_not_empty", change_files("items", _emptied)),
        window("the item file is missing", "", "file_present", change_files("items", _deleted)),
        window("the item file is cut off", "", "file_readable", change_files("items", _cut_off)),
        window("the scorer says the opposite", attribute, "attribute_rate", convert("items", attribute, pc.invert)),
        window("embeddings of another model", "embedding", "drift_psi", _another_model),
    ]


def _interaction_row_faults() -> list[Fault]:
    table = "interactions"
    row = partial(_row, table)
    return [
        row("rows without a sequence", "sequence_id", "null_in_interaction", set_value(table, "sequence_id", None)),
        row("rows without an item", "item_id", "null_in_interaction", set_value(table, "item_id", None)),
        row("rows without a time", "timestamp", "null_in_interaction", set_value(table, "timestamp", None)),
        row("sequence_id is the empty string", "sequence_id", "empty_sequence_id", set_value(table, "sequence_id", "")),
        row("items that are not in the catalogue", "item_id", "unknown_item", set_value(table, "item_id", "gone-1")),
        row("item_id with a space before it", "item_id", "unknown_item", set_value(table, "item_id", " 85123A")),
        row("rows repeated in their file", "", "duplicate_interaction", deliver_again(0.02, new_file=False)),
        row(
            "a quarter of a day again in a second file", "", "duplicate_interaction", deliver_again(0.25, new_file=True)
        ),
        row("an unset clock (1970)", "timestamp", "timestamp_in_range", set_value(table, "timestamp", _UNSET_CLOCK)),
        row(
            "a time in the wrong unit (2153)",
            "timestamp",
            "timestamp_in_range",
            set_value(table, "timestamp", _WRONG_UNIT),
        ),
        row("rows in the partition of another day", "timestamp", "timestamp_in_partition", move_in_time(table, -10)),
        row("rows from the future", "timestamp", "timestamp_in_partition", move_in_time(table, 8)),
        row("rows in the partition of no day", "", "partition_name", _in_default_partition),
    ]


def _interaction_window_faults() -> list[Fault]:
    table = "interactions"
    window = partial(_window, table)

    def wrong_type(name: str, column: str, kind: pa.DataType) -> Fault:
        return window(name, column, "column_type", convert(table, column, lambda c: c.cast(kind)))

    return [
        window(
            "one row in twenty without an item", "item_id", "null_in_interaction", _everywhere("item_id", None, 0.05)
        ),
        window("one row in five of unknown items", "item_id", "unknown_item", _everywhere("item_id", "gone-1", 0.2)),
        window("every day delivered twice", "", "duplicate_interaction", change_files(table, _doubled)),
        window(
            "a clock that was never set", "timestamp", "timestamp_in_range", _everywhere("timestamp", _UNSET_CLOCK, 0.3)
        ),
        window("times as words", "timestamp", "readable_value", convert(table, "timestamp", _words)),
        window("times as days since 1970", "timestamp", "timestamp_in_range", convert(table, "timestamp", _days)),
        window("one day with a time zone", "timestamp", "column_type", _zoned()),
        wrong_type("item_id as bytes", "item_id", pa.binary()),
        wrong_type("sequence_id as bytes", "sequence_id", pa.binary()),
        window("no sequence_id column", "sequence_id", "column_present", drop_column(table, "sequence_id")),
        window("no item_id column", "item_id", "column_present", drop_column(table, "item_id")),
        window(
            "timestamp and position", "timestamp", "one_order_column", rename_column(table, "timestamp", "+position")
        ),
        window("a partition is cut off", "", "file_readable", change_files(table, _first_cut_off)),
        window("a partition is CSV", "", "file_readable", change_files(table, _first_is_csv)),
        window("a day that does not exist", "", "partition_name", change_files(table, _on_no_day)),
        window("most days are missing", "", "days_present", change_files(table, _missing_days)),
        window("nine rows in ten are lost", "", "volume", change_files(table, _thinned)),
        window("a bot: five times the rows", "", "volume", change_files(table, _with_bots)),
        window(
            "the server's clock is nine hours on", "timestamp", "drift_psi", convert(table, "timestamp", shifted(9))
        ),
        window("one product everywhere", "item_id", "drift_psi", _one_product),
    ]


def _label_faults() -> list[Fault]:
    table = "retrieval_labels"
    columns = ("request_id", "timestamp", "domain", "anchor_item_id", "rank", "item_id", "label")

    row, window = partial(_row, table), partial(_window, table)

    return [
        *(row(f"rows without {name}", name, "null_in_label", set_value(table, name, None)) for name in columns),
        row(
            "a domain that nobody knows",
            "domain",
            "unknown_label_domain",
            change_requests("domain", lambda c, r: "gone"),
        ),
        row("an anchor that is gone", "anchor_item_id", "unknown_label_item", _request("anchor_item_id", "gone-1")),
        row("results that are gone", "item_id", "unknown_label_item", _request("item_id", "gone-1")),
        row("ranks from 0", "rank", "rank_positive", _ranks_from_zero),
        row("a rank twice", "rank", "duplicate_label", _rank_again),
        row(
            "a result twice", "item_id", "duplicate_label", change_requests("item_id", lambda c, r: c["item_id"][r - 1])
        ),
        row("a result was lost", "rank", "rank_contiguous", change_requests("rank", lambda c, r: None, whole=True)),
        row(
            "two anchors in a request",
            "anchor_item_id",
            "one_anchor_per_request",
            change_requests("anchor_item_id", _other),
        ),
        row("two domains in a request", "domain", "one_anchor_per_request", change_requests("domain", _other_domain)),
        row(
            "two times in a request", "timestamp", "one_anchor_per_request", change_requests("timestamp", _a_minute_on)
        ),
        row("an unset clock (1970)", "timestamp", "timestamp_in_range", _request("timestamp", _UNSET_CLOCK)),
        row("rows in the partition of another day", "timestamp", "timestamp_in_partition", move_in_time(table, -10, 4)),
        window("one label in ten is null", "label", "null_in_label", set_value_everywhere(table, "label", None, 0.1)),
        window("label as words", "label", "column_type", convert(table, "label", _words)),
        window("rank as text", "rank", "column_type", convert(table, "rank", lambda c: c.cast(pa.string()))),
        window("no label column", "label", "column_present", drop_column(table, "label")),
        window("the scorer says yes to all", "label", "label_rate", set_value_everywhere(table, "label", True, 1.0)),
        window("most days are missing", "", "days_present", change_files(table, _missing_days)),
        window("nine rows in ten are lost", "", "volume", change_files(table, _thinned)),
        window("one anchor for all", "anchor_item_id", "drift_psi", _one_anchor),
    ]


def all_faults(domain: str) -> list[Fault]:
    """Every kind of bad input.

    Args:
        domain: a domain of the catalogue, whose attribute is hit.
    """
    return [*_item_faults(domain), *_interaction_row_faults(), *_interaction_window_faults(), *_label_faults()]


def _everywhere(column: str, value: object, share: float) -> Change:
    return set_value_everywhere("interactions", column, value, share)


def _request(column: str, value: object) -> Change:
    return change_requests(column, lambda columns, row: value)


def _other(columns: dict[str, list], row: int) -> object:
    return columns["item_id"][row]


def _other_domain(columns: dict[str, list], row: int) -> object:
    return next(name for name in columns["domain"] if name != columns["domain"][row])


def _a_minute_on(columns: dict[str, list], row: int) -> object:
    return columns["timestamp"][row].replace(microsecond=7)


def _words(column: pa.ChunkedArray) -> pa.Array:
    return pa.array(["yesterday"] * len(column))


def _days(column: pa.ChunkedArray) -> pa.Array:
    return column.cast(pa.date32()).combine_chunks().cast(pa.int32())


def _odd_verdicts(attribute: str) -> Change:
    def change(logs: Logs, rng: np.random.Generator) -> set[Place]:
        convert("items", attribute, lambda column: column.cast(pa.int8()))(logs, rng)
        return new_items(attribute, lambda vector: 7)(logs, rng)

    return change


def _ranks_from_zero(logs: Logs, rng: np.random.Generator) -> set[Place]:
    file = logs.files("retrieval_labels")[0]
    table = logs.tables[file]
    requests = pa.array(table["request_id"].unique().to_pylist()[:2])
    shifted = pc.subtract(table["rank"], pc.is_in(table["request_id"], value_set=requests).cast(table["rank"].type))
    logs.tables[file] = table.set_column(table.schema.get_field_index("rank"), "rank", shifted)
    return {(file, row) for row, rank in enumerate(shifted.to_pylist()) if rank == 0}


def _rank_again(logs: Logs, rng: np.random.Generator) -> set[Place]:
    file = logs.files("retrieval_labels")[0]
    table = logs.tables[file]
    again = table.filter(pc.equal(table["rank"], 3)).slice(0, 2)
    again = again.set_column(again.schema.get_field_index("item_id"), "item_id", again["anchor_item_id"])
    logs.tables[file] = pa.concat_tables([table, again])
    return {(file, len(table) + row) for row in range(len(again))}


def _in_default_partition(logs: Logs, rng: np.random.Generator) -> set[Place]:
    table = logs.tables[logs.files("interactions")[0]]
    file = "interactions/date=__HIVE_DEFAULT_PARTITION__/part.parquet"
    logs.tables[file] = table.slice(0, 5)
    return {(file, row) for row in range(5)}


def _texts(count: int) -> pa.Array:
    return pa.array(["[0.1, 0.2]"] * count)


def _repeat_items(logs: Logs, rng: np.random.Generator) -> set[Place]:
    table = logs.tables[ITEMS]
    logs.tables[ITEMS] = pa.concat_tables([table, table.slice(0, 8)])
    return {(ITEMS, len(table) + number) for number in range(8)}


def _many_nan(logs: Logs, rng: np.random.Generator) -> set[Place]:
    return new_items("embedding", lambda v: [np.nan, *v[1:]], len(logs.tables[ITEMS]) // 20)(logs, rng)


def _without_attributes(logs: Logs, rng: np.random.Generator) -> set[Place]:
    table = logs.tables[ITEMS]
    logs.tables[ITEMS] = table.drop([name for name in table.column_names if name.startswith("attr_")])
    return set()


def _another_model(logs: Logs, rng: np.random.Generator) -> set[Place]:
    table = logs.tables[ITEMS]
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    turn, _ = np.linalg.qr(rng.standard_normal((vectors.shape[1],) * 2))
    turned = (vectors @ turn).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(turned.ravel()), vectors.shape[1])
    logs.tables[ITEMS] = table.set_column(table.schema.get_field_index("embedding"), "embedding", column)
    return set()


def _emptied(logs: Logs, file: str, number: int) -> None:
    logs.tables[file] = logs.tables[file].slice(0, 0)


def _deleted(logs: Logs, file: str, number: int) -> None:
    del logs.tables[file]


def _cut_off(logs: Logs, file: str, number: int) -> None:
    logs.raw[file] = b"PAR1" + bytes(1_000)


def _first_cut_off(logs: Logs, file: str, number: int) -> None:
    if number == 0:
        _cut_off(logs, file, number)


def _first_is_csv(logs: Logs, file: str, number: int) -> None:
    if number == 0:
        logs.raw[file] = b"sequence_id,item_id,timestamp\n1,2,2011-11-01\n"


def _on_no_day(logs: Logs, file: str, number: int) -> None:
    if number == 0:
        day = file.split("date=")[1][:8]
        logs.tables[f"interactions/date={day}32/part.parquet"] = logs.tables.pop(file)


def _doubled(logs: Logs, file: str, number: int) -> None:
    logs.tables[file] = pa.concat_tables([logs.tables[file]] * 2)


def _missing_days(logs: Logs, file: str, number: int) -> None:
    if number % 4:
        del logs.tables[file]


def _thinned(logs: Logs, file: str, number: int) -> None:
    table = logs.tables[file]
    logs.tables[file] = table.take(pa.array(np.arange(0, len(table), 10)))


def _with_bots(logs: Logs, file: str, number: int) -> None:
    table = logs.tables[file]
    place = table.schema.get_field_index("sequence_id")
    names = table["sequence_id"].to_pylist()
    kind = table.schema.field("sequence_id").type
    copies = [
        table.set_column(place, "sequence_id", pa.array([f"bot-{copy}-{name}" for name in names], kind))
        for copy in range(4)
    ]
    logs.tables[file] = pa.concat_tables([table, *copies])


def _zoned() -> Change:
    return convert("interactions", "timestamp", lambda c: c.cast(pa.timestamp("us", tz="UTC")), only_first=True)


def _one_product(logs: Logs, rng: np.random.Generator) -> set[Place]:
    item = logs.tables[ITEMS]["item_id"][0].as_py()
    return set_value_everywhere("interactions", "item_id", item, 0.7)(logs, rng)


def _one_anchor(logs: Logs, rng: np.random.Generator) -> set[Place]:
    item = logs.tables[ITEMS]["item_id"][0].as_py()
    return set_value_everywhere("retrieval_labels", "anchor_item_id", item, 1.0)(logs, rng)
