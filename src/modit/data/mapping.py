"""Which column of the input is which column of the contract: by name, by the mapping file, or by a common other name.

The mapping file lies in the input folder as `mapping.yaml`, `mapping.yml` or `mapping.json`, or anywhere else:

    items:
      item_id: product_code            # column of the contract: column of the input
      domains: {popular: label_popular, by_hand: "Made by hand"}
    interactions:
      sequence_id: user_id
      timestamp: time
      timestamp_unit: ms               # of epoch numbers: s, ms, us or ns; found by their size if absent
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from modit.core.names import DOMAIN_NAME, JUDGED_ONCE
from modit.data.catalog import ATTRIBUTE_PREFIX
from modit.data.contract import (
    EMBEDDING,
    EPOCH_UNITS,
    ID,
    JUDGEMENT_COLUMNS,
    LABEL_COLUMNS,
    ORDER_COLUMNS,
    QUERY_COLUMNS,
    TEXT,
    TIMESTAMP,
    VERDICT,
    ColumnType,
    epoch_unit,
    identifier,
    is_epoch,
    select,
)
from modit.data.engine import Engine
from modit.data.files import TableFile, scan, undecodable
from modit.data.problems import ProblemLog, breach

MAPPING_FILES = ("mapping.yaml", "mapping.yml", "mapping.json")
_COLUMNS: dict[str, dict[str, ColumnType]] = {
    "items": {"item_id": ID, "embedding": EMBEDDING, "title": TEXT, "description": TEXT},
    "interactions": {"sequence_id": ID, "item_id": ID, **ORDER_COLUMNS},
    "retrieval_labels": LABEL_COLUMNS,
    "queries": QUERY_COLUMNS,
    "labels": JUDGEMENT_COLUMNS,
    "verdicts": {"item_id": ID, "verdict": VERDICT},
}
# A file of verdicts stands alone: its columns have the contract's names or one of those below.
_MAPPED = [table for table in _COLUMNS if table != "verdicts"]
# Names that are understood without a mapping file where exactly one of them is there; without case and punctuation.
_ALIASES = {
    "item_id": "itemid productid movieid trackid songid bookid articleid asin sku iid",
    "sequence_id": "sequenceid userid sessionid customerid visitorid basketid playlistid orderid uid",
    "timestamp": "timestamp time datetime ts eventtime createdat",
    "position": "position",
    "embedding": "embedding embeddings vector emb",
    "title": "title name productname itemname",
    "description": "description keyphrase keywords summary",
    "request_id": "requestid queryid searchid",
    "anchor_item_id": "anchoritemid anchorid seeditemid",
    "domain": "domain attribute",
    "rank": "rank",
    "label": "label verdict",
    "verdict": "verdict label",
    "query_id": "queryid qid searchid",
    "text": "text query querytext searchterm",
    "split": "split part",
    "relevance": "relevance grade gain label",
}
_LABEL_PREFIX = "label_"
# Columns that a catalogue may lack; descriptions are read only where vectors are made from texts.
_OPTIONAL = ("title", "description", "split")


@dataclass(frozen=True)
class SourceColumn:
    """Where the values of a column of the contract come from.

    Attributes:
        name: of the contract; `attr_<domain>` for a verdict.
        kind: its type in the contract.
        column: its name in the input.
        unit: of epoch times, "" where they are none.
    """

    name: str
    kind: ColumnType
    column: str
    unit: str = ""

    def select_from(self, file: TableFile) -> list[str]:
        """The select list that reads it from a file."""
        return select(self.name, self.kind, self.column, file.columns[self.column], file.is_text, self.unit)


@dataclass(frozen=True)
class TableLayout:
    """A table of the input as it was understood.

    Attributes:
        table: its name.
        files: its files.
        columns: column of the contract -> where it comes from.
    """

    table: str
    files: list[TableFile]
    columns: dict[str, SourceColumn]

    @property
    def order(self) -> str:
        """The column that orders a sequence: `timestamp` or `position`."""
        return next(name for name in ORDER_COLUMNS if name in self.columns)

    @property
    def domains(self) -> list[str]:
        """The domains that have verdicts, sorted."""
        return sorted(name.removeprefix(ATTRIBUTE_PREFIX) for name in self.columns if name.startswith(ATTRIBUTE_PREFIX))

    def scan(self, files: Sequence[TableFile]) -> str:
        """SQL that yields rows of some files with `pos`, each column of the contract, and the text of unread values."""
        columns = self.columns.values()
        return scan(files, [[part for each in columns for part in each.select_from(file)] for file in files])

    @contextmanager
    def decoding(self, files: Sequence[TableFile], engine: Engine) -> Iterator[None]:
        """A block that reads files; an error of the engine becomes a `ContractError` where a file is at fault."""
        try:
            yield
        except engine.Error as error:
            raise undecodable(files, [each.column for each in self.columns.values()], error) from error


class Mapping:
    """The content of a mapping file; empty where there is none.

    Args:
        content: table -> column of the contract -> column of the input; see the head of this module.
        name: of the file, for messages.
    """

    def __init__(self, content: dict[str, dict[str, Any]] | None = None, name: str = "mapping.yaml") -> None:
        self.tables, self.name = content or {}, name

    @classmethod
    def load(cls, source: Path, file: Path | None = None) -> Mapping:
        """Reads a mapping file.

        Args:
            source: the input folder, where it is looked for.
            file: a file elsewhere; None for the one in the folder, if there is one.

        Raises:
            ContractError: the file is not what a mapping file must be.
        """
        found = file or next((source / name for name in MAPPING_FILES if (source / name).is_file()), None)
        if found is None:
            return cls()
        try:
            content = yaml.safe_load(found.read_text(encoding="utf-8"))  # JSON is YAML, too
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise breach("mapping_valid", found.name, detail=str(error)) from error
        _check_mapping(content, found.name)
        return cls(content, found.name)

    def of(self, table: str) -> dict[str, str]:
        """Column of the contract -> column of the input, verdicts as `attr_<domain>`."""
        columns = dict(self.tables.get(table, {}))
        columns.pop("timestamp_unit", None)
        domains = columns.pop("domains", {})
        pairs = domains.items() if isinstance(domains, dict) else ((column, column) for column in domains)
        return columns | {ATTRIBUTE_PREFIX + domain_name(domain): column for domain, column in pairs}

    def unit(self, table: str) -> str | None:
        """The unit of epoch times that the file names."""
        return self.tables.get(table, {}).get("timestamp_unit")


def domain_name(text: str) -> str:
    """A text as the name of a domain: 'Popular Items' is `popular_items`."""
    if _is_name(text):
        return text
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def understand(
    table: str, files: list[TableFile], mapping: Mapping, engine: Engine, needs_domains: bool = True
) -> TableLayout:
    """Finds the columns of the contract in the files of a table.

    Args:
        table: its name.
        files: its files, at least one.
        mapping: the mapping file.
        engine: measures epoch times, to find their unit.
        needs_domains: whether items must have verdicts and embeddings; if not, titles or descriptions stand in for
            missing embeddings.

    Raises:
        ContractError: a column is missing, ambiguous, or has a type that the contract does not take.
    """
    problems = ProblemLog()
    kinds = dict(_COLUMNS[table])
    named = _named(table, files[0], mapping, problems, needs_domains)
    if table == "items":
        has_texts = any(name in named for name in _OPTIONAL)
        del kinds["description" if needs_domains or "embedding" in named or not has_texts else "embedding"]
        if not needs_domains and not has_texts and "embedding" not in named:
            detail = f"no embedding, no title, no description; columns are {', '.join(files[0].columns)}"
            problems.add("text_present", files[0].name, detail=detail)
        kinds |= dict.fromkeys((name for name in named if name.startswith(ATTRIBUTE_PREFIX)), VERDICT)
    if table == "interactions":
        order = [name for name in ORDER_COLUMNS if name in named]
        if len(order) != 1:
            shown = ", ".join(files[0].columns)
            problems.add("one_order_column", files[0].name, detail=f"columns are {shown}")
        kinds = {name: kind for name, kind in kinds.items() if name not in ORDER_COLUMNS or name in order}
    for name, kind in kinds.items():
        _check_column(table, files, name, named.get(name), kind, problems)
    if table == "items":
        _check_same_columns(files, problems)
    problems.raise_if_any()
    columns = {}
    for name, kind in kinds.items():
        if name in named:
            unit = (mapping.unit(table) or _unit(files, named[name], engine)) if kind is TIMESTAMP else ""
            columns[name] = SourceColumn(name, kind, named[name], unit)
    return TableLayout(table, files, columns)


def _named(table: str, first: TableFile, mapping: Mapping, problems: ProblemLog, needs_domains: bool) -> dict[str, str]:
    """Column of the contract -> column of the input."""
    named = mapping.of(table)
    for name, column in list(named.items()):
        if column not in first.columns:
            detail = f"{mapping.name} says {name} is {column!r}; columns are {', '.join(first.columns)}"
            problems.add("mapping_valid", first.name, column, detail)
            del named[name]
    named = {name: name for name in _COLUMNS[table] if name in first.columns} | named
    if table == "items":
        named |= _domains(first, named, problems, needs_domains)
    is_ordered = table == "interactions" and any(name in named for name in ORDER_COLUMNS)
    for name in _COLUMNS[table]:
        if name not in named and not (is_ordered and name in ORDER_COLUMNS):
            named |= _by_alias(table, name, first, set(named.values()), problems)
    return named


def _by_alias(table: str, name: str, file: TableFile, taken: set[str], problems: ProblemLog) -> dict[str, str]:
    aliases = [*_ALIASES[name].split(), *(["id"] if name == "item_id" and table in ("items", "verdicts") else [])]
    found = [column for column in file.columns if column not in taken and _plain(column) in aliases]
    if len(found) > 1 and name not in _OPTIONAL:
        detail = f"several columns may be it: {', '.join(found)}; name one in mapping.yaml"
        problems.add("column_present", file.name, name, detail)
    return {name: found[0]} if len(found) == 1 else {}


def _domains(file: TableFile, named: dict[str, str], problems: ProblemLog, needed: bool) -> dict[str, str]:
    """`attr_<domain>` -> column of the input, for columns that are named so; or `label_<domain>` where none is."""
    taken, domains = set(named.values()), {name for name in named if name.startswith(ATTRIBUTE_PREFIX)}
    for prefix in (ATTRIBUTE_PREFIX, _LABEL_PREFIX):
        columns = [name for name in file.columns if name.lower().startswith(prefix) and name not in taken]
        if columns:
            break
    found: dict[str, str] = {}
    for column in columns:
        domain = domain_name(column[len(prefix) :])
        if not _is_name(domain) or ATTRIBUTE_PREFIX + domain in {*found, *domains}:
            other = found.get(ATTRIBUTE_PREFIX + domain, "the mapping file")
            detail = f"{domain!r}, as {other}" if _is_name(domain) else _no_name(domain)
            problems.add("domain_name", file.name, column, detail)
        found[ATTRIBUTE_PREFIX + domain] = column
    if needed and not found and not domains:
        detail = f"columns are {', '.join(file.columns)}; mapping.yaml can name others under domains"
        problems.add("attribute_present", file.name, detail=detail)
    return found


def _check_column(
    table: str, files: list[TableFile], name: str, column: str | None, kind: ColumnType, problems: ProblemLog
) -> None:
    first = files[0]
    if column is None:
        if name not in _OPTIONAL:
            unused = next((each for each in first.columns if each not in _COLUMNS[table]), "YOUR_COLUMN")
            detail = f"missing; columns are {', '.join(first.columns)}"
            if table in _MAPPED:
                detail += (
                    f"; a column of another name is named in mapping.yaml, such as '{table}: {{{name}: {unused}}}'"
                )
                detail += " (docs/reference/input-contract.md)"
            problems.add("column_present", first.name, name, detail)
        return
    for file in files:
        if column not in file.columns:
            problems.add("column_present", file.name, column, f"missing; columns are {', '.join(file.columns)}")
        elif not file.is_text and not kind.accepts(file.columns[column]):
            problems.add("column_type", file.name, column, f"must be {kind.name}, is {file.columns[column]}")
    if kind is TIMESTAMP:
        _check_time_zones([file for file in files if column in file.columns], column, problems)


def _check_same_columns(files: list[TableFile], problems: ProblemLog) -> None:
    """Optional columns of items that the first file does not have."""
    for file in files[1:]:
        for name in file.columns:
            if name not in files[0].columns and (name == "title" or name.startswith(ATTRIBUTE_PREFIX)):
                problems.add("column_present", files[0].name, name, f"missing here, present in {file.name}")


def _check_time_zones(files: list[TableFile], column: str, problems: ProblemLog) -> None:
    typed = [file for file in files if pa.types.is_timestamp(file.columns[column])]
    for file in typed[1:]:
        zone, first = file.columns[column].tz, typed[0].columns[column].tz
        # a naive timestamp beside an aware one would be compared as if it were UTC
        if (zone is None) != (first is None):
            problems.add("column_type", file.name, column, f"time zone {zone}, while {typed[0].name} has {first}")


def _unit(files: list[TableFile], column: str, engine: Engine) -> str:
    """The unit of epoch times by their median in the first file that has any; "" where all times are text."""
    for file in files:
        if is_epoch(file.columns[column], file.is_text):
            numbers = scan([file], [[f"TRY_CAST({identifier(column)} AS DOUBLE) AS number"]])
            try:
                median = engine.value(f"SELECT median(number) FROM ({numbers}) WHERE isfinite(number)")
            except engine.Error as error:
                raise undecodable([file], [column], error) from error
            if median is not None:
                return epoch_unit(median)
    return ""


def _check_mapping(content: Any, name: str) -> None:
    if not isinstance(content, dict):
        raise breach("mapping_valid", name, detail=f"is {content!r}; allowed: tables, {', '.join(_MAPPED)}")
    problems = ProblemLog()
    for table, columns in content.items():
        if table not in _MAPPED or not isinstance(columns, dict):
            problems.add("mapping_valid", name, table, f"no such table; allowed: {', '.join(_MAPPED)}")
            continue
        extra = {"domains"} if table == "items" else {"timestamp_unit"} & {f"{name}_unit" for name in _COLUMNS[table]}
        for key, value in columns.items():
            if key not in _COLUMNS[table] and key not in extra and not key.startswith(ATTRIBUTE_PREFIX):
                allowed = ", ".join([*_COLUMNS[table], *sorted(extra)])
                problems.add("mapping_valid", name, f"{table}.{key}", f"no column of the contract; allowed: {allowed}")
            elif key == "timestamp_unit" and value not in EPOCH_UNITS:
                problems.add("mapping_valid", name, key, f"is {value!r}; allowed: {', '.join(EPOCH_UNITS)}")
            elif key == "domains" and not isinstance(value, (dict, list)):
                problems.add("mapping_valid", name, key, f"is {value!r}; allowed: domain: column, or a list of columns")
            elif key == "domains" and (taken := [each for each in value if domain_name(str(each)) in JUDGED_ONCE]):
                problems.add("domain_name", name, str(taken[0]), _no_name(domain_name(str(taken[0]))))
            elif (domain := key.removeprefix(ATTRIBUTE_PREFIX)) != key and domain in JUDGED_ONCE:
                problems.add("domain_name", name, key, _no_name(domain))
            elif key != "domains" and not isinstance(value, str):
                problems.add("mapping_valid", name, f"{table}.{key}", f"is {value!r}; allowed: the name of a column")
    problems.raise_if_any()


def _is_name(text: str) -> bool:
    return text not in JUDGED_ONCE and DOMAIN_NAME.fullmatch(text) is not None


def _no_name(domain: str) -> str:
    if domain in JUDGED_ONCE:
        return f"{domain!r} is what {JUDGED_ONCE[domain]} are called; give the domain another name"
    return f"{domain!r} is no name"


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())
