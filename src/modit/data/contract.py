"""The columns of the input contract: which types each one takes, and the SQL that reads them all alike.

Parquet columns have types, and a column of a type that the contract does not take is refused. CSV and JSON values are
text, which is parsed; a value that cannot be parsed is the fault of its row (rule `readable_value`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

EPOCH_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# What writers put for a missing value in a text, but for ids and titles, of which it may be one. In numbers it is NaN.
_MISSING = "'', 'nan', 'na', 'n/a', '<na>', 'nat', 'null', 'none'"
# A column of epoch times has the first unit whose limit is above its median: seconds until the year 5138.
_UNIT_LIMITS = {"s": 1e11, "ms": 1e14, "us": 1e17}


def is_string(kind: pa.DataType) -> bool:
    """Whether a type is text: string, large_string, string_view, or a dictionary (category) of these."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_whole(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)


def _is_number(kind: pa.DataType) -> bool:
    return _is_whole(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _is_embedding(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    listed = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_list(kind) for is_list in listed) and _is_number(kind.value_type)


@dataclass(frozen=True)
class ColumnType:
    """A type of the contract.

    Attributes:
        name: how messages name it.
        accepts: whether an Arrow type counts as it.
        parse: (quoted column, Arrow type, whether the file is text, epoch unit) -> SQL of the value, null where it
            cannot be read.
        plain: the Arrow types that are read as they are; reading any other is noted as a conversion.
    """

    name: str
    accepts: Callable[[pa.DataType], bool]
    parse: Callable[[str, pa.DataType, bool, str], str]
    plain: Callable[[pa.DataType], bool]


def _parse_text(column: str, kind: pa.DataType, is_text: bool, unit: str) -> str:
    return f"CAST({column} AS VARCHAR)"


def _parse_verdict(column: str, kind: pa.DataType, is_text: bool, unit: str) -> str:
    if is_text or is_string(kind):
        return f"CAST(TRY_CAST(trim({column}) AS BOOLEAN) AS TINYINT)"
    return f"CASE WHEN TRY_CAST({column} AS DOUBLE) IN (0, 1) THEN TRY_CAST({column} AS TINYINT) END"


def _parse_integer(column: str, kind: pa.DataType, is_text: bool, unit: str) -> str:
    if is_text:
        return (
            f"CASE WHEN regexp_full_match(trim({column}), '[+-]?[0-9]+([.]0*)?') THEN TRY_CAST({column} AS BIGINT) END"
        )
    return f"TRY_CAST({column} AS BIGINT)"


def _parse_number(column: str, kind: pa.DataType, is_text: bool, unit: str) -> str:
    return f"TRY_CAST({column} AS DOUBLE)"


def _parse_timestamp(column: str, kind: pa.DataType, is_text: bool, unit: str) -> str:
    epoch = f"TRY_CAST(round({{}} * {EPOCH_UNITS[unit]}) AS BIGINT)"
    if is_text or is_string(kind):
        return f"coalesce(epoch_us(TRY_CAST({column} AS TIMESTAMPTZ)), {epoch.format(f'TRY_CAST({column} AS DOUBLE)')})"
    if _is_time(kind):
        return f"epoch_us(CAST({column} AS TIMESTAMPTZ))" if getattr(kind, "tz", None) else f"epoch_us({column})"
    if pa.types.is_floating(kind):
        return epoch.format(f"CAST({column} AS DOUBLE)")
    if unit == "ns":
        return f"TRY_CAST({column} AS BIGINT) // 1000"
    return f"TRY_CAST({column}::HUGEINT * {EPOCH_UNITS[unit]} AS BIGINT)"


def _parse_embedding(column: str, kind: pa.DataType, is_text: bool, unit: str) -> str:
    if not is_text:
        return column
    numbers = f"list_filter(string_split_regex({column}, '[\\s,;\\[\\]()]+'), lambda number: number <> '')"
    return f"TRY_CAST(list_transform({numbers}, lambda number: nullif(number, 'null')) AS DOUBLE[])"


TEXT = ColumnType("string", is_string, _parse_text, is_string)
ID = ColumnType("string or integer", lambda kind: is_string(kind) or _is_whole(kind), _parse_text, is_string)
EMBEDDING = ColumnType(
    "list or tensor of numbers, all of one length",
    _is_embedding,
    _parse_embedding,
    lambda kind: not isinstance(kind, pa.BaseExtensionType) and kind.value_type == pa.float32(),
)
VERDICT = ColumnType(
    "boolean, or 0 and 1",
    lambda kind: pa.types.is_boolean(kind) or _is_number(kind),
    _parse_verdict,
    pa.types.is_boolean,
)
INTEGER = ColumnType("integer", _is_whole, _parse_integer, pa.types.is_integer)
NUMBER = ColumnType("number", _is_number, _parse_number, _is_number)
TIMESTAMP = ColumnType(
    "timestamp, epoch number or ISO text",
    lambda kind: _is_time(kind) or _is_number(kind) or is_string(kind),
    _parse_timestamp,
    pa.types.is_timestamp,
)

ORDER_COLUMNS = {"timestamp": TIMESTAMP, "position": INTEGER}
LABEL_COLUMNS = {
    "request_id": ID,
    "timestamp": TIMESTAMP,
    "domain": TEXT,
    "anchor_item_id": ID,
    "rank": INTEGER,
    "item_id": ID,
    "label": VERDICT,
}
QUERY_COLUMNS = {"query_id": ID, "text": TEXT, "split": TEXT}
JUDGEMENT_COLUMNS = {"query_id": ID, "item_id": ID, "relevance": NUMBER}
# What modit writes where it writes retrieval labels itself.
LABEL_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("domain", pa.string()),
        ("anchor_item_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("label", pa.bool_()),
    ]
)


def epoch_unit(median: float) -> str:
    """The unit of a column of epoch times by the size of its median: s, ms, us or ns."""
    return next((unit for unit, limit in _UNIT_LIMITS.items() if abs(median) < limit), "ns")


def is_epoch(kind: pa.DataType, is_text: bool) -> bool:
    """Whether times of a column may be epoch numbers, whose unit has to be found."""
    return is_text or not _is_time(kind)


def conversion(kind: ColumnType, found: pa.DataType, is_text: bool, unit: str) -> str:
    """How a column is converted on reading, in words; "" where it is read as it is."""
    if kind is TIMESTAMP and is_epoch(found, is_text):
        return f"epoch {_UNIT_NAMES[unit]}" if unit else "text read as times"
    if is_text:
        return "" if kind in (TEXT, ID) else f"text read as {kind.name}"
    if kind.plain(found):
        return ""
    phrases = {"string or integer": "read as text", "boolean, or 0 and 1": "1 is true, 0 is false"}
    return phrases.get(kind.name, f"read as {'float32' if kind is EMBEDDING else kind.name}")


def select(name: str, kind: ColumnType, column: str, found: pa.DataType, is_text: bool, unit: str) -> list[str]:
    """The select list of one column: its value as NAME and, where that cannot be read, its text as NAME_text.

    `name` and `kind` are those of the contract, `column` and `found` those of the file, which may be CSV or JSON.
    """
    raw = identifier(column)
    if is_text and kind not in (TEXT, ID):
        raw = f"CASE WHEN lower(trim({raw})) NOT IN ({_MISSING}) THEN {raw} END"
    elif not is_text and pa.types.is_floating(found):
        # not isnan(): DuckDB answers it from the statistics of a Parquet file, which leave NaN out
        raw = f"CASE WHEN CAST({raw} AS VARCHAR) <> 'nan' THEN {raw} END"
    value = kind.parse(raw, found, is_text, unit or "us")
    unread = f"CASE WHEN {value} IS NULL THEN CAST({raw} AS VARCHAR) END"
    return [f"{value} AS {identifier(name)}", f"{unread} AS {identifier(name + '_text')}"]


def identifier(name: str) -> str:
    """A column or table name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in quotes."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """SQL of a column's value as messages show it: in quotes, or None."""
    return f"coalesce('''' || {identifier(name)} || '''', 'None')"
