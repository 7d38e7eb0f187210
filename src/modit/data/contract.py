"""The input contract: which columns each table must have, and of which type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from modit.core.names import DOMAIN_NAME
from modit.data.catalog import ATTRIBUTE_PREFIX
from modit.data.parts import Part
from modit.data.problems import ProblemLog


@dataclass(frozen=True)
class ColumnType:
    """A type of the contract: how it is named in messages, and which Arrow types count as it."""

    name: str
    accepts: Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_embedding(kind: pa.DataType) -> bool:
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return listed and pa.types.is_floating(kind.value_type)


def _is_integer(kind: pa.DataType) -> bool:
    # uint64 does not fit the int64 that orders sequences
    return pa.types.is_integer(kind) and kind != pa.uint64()


TEXT = ColumnType("string", _is_text)
TEXT_OR_INTEGER = ColumnType("string or integer", lambda kind: _is_text(kind) or _is_integer(kind))
EMBEDDING = ColumnType("list of float32, fixed size or of equal lengths", _is_embedding)
BOOLEAN = ColumnType("boolean", pa.types.is_boolean)
INTEGER = ColumnType("integer", _is_integer)
TIMESTAMP = ColumnType("timestamp", pa.types.is_timestamp)

ITEM_COLUMNS = {"item_id": TEXT, "embedding": EMBEDDING}
INTERACTION_COLUMNS = {"sequence_id": TEXT_OR_INTEGER, "item_id": TEXT}
ORDER_COLUMNS = {"timestamp": TIMESTAMP, "position": INTEGER}
LABEL_COLUMNS = {
    "request_id": TEXT_OR_INTEGER,
    "timestamp": TIMESTAMP,
    "domain": TEXT,
    "anchor_item_id": TEXT,
    "rank": INTEGER,
    "item_id": TEXT,
    "label": BOOLEAN,
}
# What we write where we write retrieval labels ourselves.
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


@dataclass(frozen=True)
class ItemLayout:
    """What the schemas of the item parts agree on.

    Attributes:
        domains: the names behind `attr_`, sorted.
        has_titles: whether there is a `title` column.
    """

    domains: list[str]
    has_titles: bool

    @property
    def columns(self) -> list[str]:
        """The columns to read; any other column of the input is ignored."""
        titles = ["title"] if self.has_titles else []
        return ["item_id", "embedding", *titles, *(ATTRIBUTE_PREFIX + domain for domain in self.domains)]


def check_items(parts: list[Part]) -> ItemLayout:
    """Checks the schemas of the item parts.

    Raises:
        ContractError: a column is missing, has another type, or differs between parts; no or badly named attributes.
    """
    problems = ProblemLog()
    first = parts[0].schema
    attributes = sorted(name for name in first.names if name.startswith(ATTRIBUTE_PREFIX))
    layout = ItemLayout([name.removeprefix(ATTRIBUTE_PREFIX) for name in attributes], "title" in first.names)
    expected = ITEM_COLUMNS | dict.fromkeys(attributes, BOOLEAN) | ({"title": TEXT} if layout.has_titles else {})
    if not attributes:
        problems.add("attribute_present", parts[0].name, detail=f"columns are {', '.join(first.names)}")
    for name, domain in zip(attributes, layout.domains, strict=True):
        if not DOMAIN_NAME.fullmatch(domain):
            problems.add("domain_name", parts[0].name, name)
    for part in parts:
        _check_columns(part, expected, problems)
        for name in part.schema.names:
            if name not in expected and (name == "title" or name.startswith(ATTRIBUTE_PREFIX)):
                problems.add("column_present", parts[0].name, name, f"missing here, present in {part.name}")
    problems.raise_if_any()
    return layout


def check_interactions(parts: list[Part]) -> str:
    """Checks the schemas of the interaction parts.

    Returns:
        The column that orders a sequence: `timestamp` or `position`.

    Raises:
        ContractError: a column is missing, has another type, or the order column is not exactly one.
    """
    problems = ProblemLog()
    for part in parts:
        present = [name for name in ORDER_COLUMNS if name in part.schema.names]
        if len(present) != 1:
            problems.add("one_order_column", part.name, detail=f"columns are {', '.join(part.schema.names)}")
    problems.raise_if_any()
    order = next(name for name in ORDER_COLUMNS if name in parts[0].schema.names)
    expected = INTERACTION_COLUMNS | {order: ORDER_COLUMNS[order]}
    for part in parts:
        _check_columns(part, expected, problems)
    problems.raise_if_any()
    if order == "timestamp":
        _check_time_zones(parts, problems)
    return order


def check_labels(parts: list[Part]) -> None:
    """Checks the schemas of the retrieval label parts.

    Raises:
        ContractError: a column is missing or has another type.
    """
    problems = ProblemLog()
    for part in parts:
        _check_columns(part, LABEL_COLUMNS, problems)
    problems.raise_if_any()


def _check_columns(part: Part, expected: dict[str, ColumnType], problems: ProblemLog) -> None:
    for name, kind in expected.items():
        if name not in part.schema.names:
            problems.add("column_present", part.name, name, f"missing; columns are {', '.join(part.schema.names)}")
        elif not kind.accepts(part.schema.field(name).type):
            found = part.schema.field(name).type
            problems.add("column_type", part.name, name, f"must be {kind.name}, is {found}")


def _check_time_zones(parts: list[Part], problems: ProblemLog) -> None:
    zone = parts[0].schema.field("timestamp").type.tz
    for part in parts:
        other = part.schema.field("timestamp").type.tz
        # a naive timestamp beside an aware one would be compared as if it were UTC
        if (other is None) != (zone is None):
            detail = f"time zone {other}, while {parts[0].name} has {zone}"
            problems.add("column_type", part.name, "timestamp", detail)
    problems.raise_if_any()
