"""The rules of the input contract, each once: what it means, what breaks it, and how much of a table may break it.

Three kinds. A rule on files and columns refuses the input before a row is read. A rule on rows sets the rows aside that
break it, and refuses the window when they are more than its share. A rule on windows compares a figure with a range.
The quarantine applies the predicates of rules on rows; Great Expectations judges the figures against the limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from modit.data.contract import LABEL_COLUMNS, identifier, quoted
from modit.data.params import ValidationParams

TABLES = ("items", "interactions", "retrieval_labels", "queries", "labels")
DATED = TABLES[1:3]
DAY = 86_400_000_000  # microseconds
# Times outside of these are a unit gone wrong (seconds read as milliseconds) or an unset clock, not a late row.
EARLIEST, LATEST = datetime(1970, 1, 2), datetime(2100, 1, 1)
_EARLIEST_US, _LATEST_US = (
    int((moment - datetime(1970, 1, 1)).total_seconds()) * 1_000_000 for moment in (EARLIEST, LATEST)
)

# The least and the greatest value allowed: a number, or the path of a field of section `validate_logs`.
Range = tuple[float | str, float | str]
NONE: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        meaning: what must hold.
        ranges: table -> the range that the rule's figure may lie in; for a rule on rows, the share that it catches.
        is_on_rows: whether rows that break it are set aside.
    """

    meaning: str
    ranges: dict[str, Range] = field(default_factory=dict)
    is_on_rows: bool = False

    def bounds(self, table: str, params: ValidationParams) -> tuple[float, float]:
        """The range of the rule's figure in a table, as section `validate_logs` sets it."""
        low, high = self.ranges[table]
        return _number(low, params), _number(high, params)

    def option(self, table: str) -> str | None:
        """The option `validate_logs.FIELD` that lets more rows through, or None where no option does."""
        high = self.ranges[table][1]
        return f"validate_logs.{high}" if self.is_on_rows and isinstance(high, str) else None


def _number(limit: float | str, params: ValidationParams) -> float:
    return float(attrgetter(limit)(params)) if isinstance(limit, str) else limit


def _on_files(meaning: str, *tables: str) -> Rule:
    return Rule(meaning, dict.fromkeys(tables or TABLES, NONE))


def _on_rows(meaning: str, **limits: str) -> Rule:
    return Rule(meaning, {table: (0.0, limit) for table, limit in limits.items()}, is_on_rows=True)


_ITEM, _LABEL, _TIME, _NULL = "item_share_max", "label_share_max", "timestamp_share_max", "null_share_max"
_QUERY = "query_share_max"

RULES: dict[str, Rule] = {
    "file_present": _on_files("each table is one file, or one folder that holds files"),
    "file_readable": _on_files("each file is valid Parquet, CSV or JSON"),
    "column_present": _on_files("required columns exist, and every file of a table has the same ones"),
    "column_type": _on_files("each column has a type that the contract takes"),
    "mapping_valid": _on_files("the mapping file names tables, columns of the contract, and columns of the input"),
    "attribute_present": _on_files("items have at least one attr_<domain> column", "items"),
    "domain_name": _on_files(
        "what follows attr_ gives a domain's name: lower-case letters, digits and underscores, a letter first, once",
        "items",
    ),
    "items_not_empty": _on_files("there is at least one item", "items"),
    "one_order_column": _on_files("interactions have either timestamp or position", "interactions"),
    "interactions_not_empty": Rule("the window holds at least one sequence of two known items"),
    "not_null": _on_rows("item_id and embedding have no nulls", items=_ITEM),
    "text_present": _on_rows(
        "items without embeddings have a title or a description with a letter or digit", items=_ITEM
    ),
    "item_id_not_empty": _on_rows("item_id is not the empty string", items=_ITEM),
    "item_id_unique": _on_rows("item_id occurs once over all files", items=_ITEM),
    "embedding_dimension": _on_rows("all embeddings have one and the same dimension", items=_ITEM),
    "embedding_finite": _on_rows("embeddings have no null, NaN or infinite number", items=_ITEM),
    "embedding_non_zero": _on_rows("embeddings are not all zeros", items=_ITEM),
    "embedding_norm": _on_rows("embeddings as delivered are as long as section validate_logs says", items=_ITEM),
    "readable_value": _on_rows(
        "a value reads as the type of its column: a verdict or label is true, false, 1 or 0; a time is a time; "
        "a relevance is a number",
        items=_ITEM,
        interactions=_TIME,
        retrieval_labels=_LABEL,
        labels=_QUERY,
    ),
    "partition_name": _on_rows(
        "the folder date=... of a row names a day as YYYY-MM-DD", interactions=_TIME, retrieval_labels=_LABEL
    ),
    "null_in_interaction": _on_rows("sequence_id, item_id and timestamp or position have no nulls", interactions=_NULL),
    "empty_sequence_id": _on_rows("sequence_id is not the empty string", interactions=_NULL),
    "timestamp_in_range": _on_rows(
        "timestamp lies between 1970-01-02 and 2099-12-31", interactions=_TIME, retrieval_labels=_LABEL
    ),
    "timestamp_in_partition": _on_rows(
        "timestamp lies within overlap_days of the day that the folder date=YYYY-MM-DD names",
        interactions=_TIME,
        retrieval_labels=_LABEL,
    ),
    "unknown_item": _on_rows("the item_id of an interaction exists in items", interactions="unknown_item_share_max"),
    "duplicate_interaction": _on_rows(
        "sequence_id, item_id and timestamp or position occur once together", interactions="duplicate_share_max"
    ),
    "null_in_label": _on_rows("all columns of a retrieval label have values", retrieval_labels=_LABEL),
    "unknown_label_domain": _on_rows(
        "the domain of a retrieval label has a column attr_<domain> in items", retrieval_labels=_LABEL
    ),
    "unknown_label_item": _on_rows(
        "anchor_item_id and item_id of a retrieval label exist in items", retrieval_labels=_LABEL
    ),
    "rank_positive": _on_rows("ranks count from 1", retrieval_labels=_LABEL),
    "one_anchor_per_request": _on_rows(
        "all rows of a request have one timestamp, domain and anchor_item_id", retrieval_labels=_LABEL
    ),
    "duplicate_label": _on_rows("a rank and an item occur once in a request", retrieval_labels=_LABEL),
    "rank_contiguous": _on_rows(
        "every rank from 1 to the greatest of a request was delivered", retrieval_labels=_LABEL
    ),
    "null_in_query": _on_rows("query_id and text have no nulls", queries=_QUERY),
    "query_id_unique": _on_rows("query_id occurs once over all files", queries=_QUERY),
    "query_text": _on_rows("the text of a query has a letter or digit", queries=_QUERY),
    "query_split": _on_rows("the split of a query is train, validation (valid, dev), test or null", queries=_QUERY),
    "null_in_judgement": _on_rows("query_id, item_id and relevance have no nulls", labels=_QUERY),
    "relevance_range": _on_rows("relevance is a finite number, 0 or more", labels=_QUERY),
    "unknown_query": _on_rows("the query_id of a label exists in queries", labels=_QUERY),
    "unknown_judged_item": _on_rows("the item_id of a label exists in items", labels=_QUERY),
    "duplicate_judgement": _on_rows("query_id and item_id occur once together", labels=_QUERY),
    "time_order": Rule(
        "rows of a file are written in the order of time", {"interactions": (0.0, "unordered_share_max")}
    ),
    "days_present": Rule("days of the window have rows", dict.fromkeys(DATED, (0.0, "missing_day_share_max"))),
    "volume": Rule(
        "rows a day are what the last accepted windows had", dict.fromkeys(DATED, ("volume_min", "volume_max"))
    ),
    "label_rate": Rule(
        "the share of positive labels of a domain lies in the band of the last accepted windows",
        {"retrieval_labels": (0.0, 1.0)},
    ),
    "attribute_rate": Rule(
        "the share of items with an attribute lies in the band of the last accepted windows", {"items": (0.0, 1.0)}
    ),
    "drift_psi": Rule(
        "the population stability index of a column against the last accepted window is small",
        dict.fromkeys(TABLES[:3], (0.0, "drift.psi_fail")),
    ),
    "drift_distance": Rule(
        "the two-sample test of a column against the last accepted window finds no large distance",
        dict.fromkeys(TABLES[:3], (0.0, "drift.distance_fail")),
    ),
}


@dataclass(frozen=True)
class RowCheck:
    """How rows break a rule.

    Attributes:
        rule: a key of `RULES`.
        column: the column to name in messages; "" for the whole row.
        broken: SQL predicate over the columns of the scan, true for a row that breaks the rule. A column is null where
            its value is missing or unreadable; COLUMN_text holds the text of an unreadable value.
        shown: SQL of what messages show of such a row; all of its columns if "".
    """

    rule: str
    column: str
    broken: str
    shown: str = ""


def _is_missing(name: str) -> str:
    return f"{name} IS NULL AND {name}_text IS NULL"


def _nulls(rule: str, columns: Sequence[str], parsed: Sequence[str]) -> list[RowCheck]:
    """Checks of missing values, then of unreadable ones in the columns that are parsed."""
    missing = [RowCheck(rule, name, _is_missing(name)) for name in columns]
    return missing + [RowCheck("readable_value", name, f"{name} IS NULL") for name in parsed]


def far_from_partition(overlap_days: int) -> str:
    """SQL predicate: the row lies more than `overlap_days` away from the day of its partition."""
    return f"timestamp < day - {overlap_days * DAY} OR timestamp >= day + {(1 + overlap_days) * DAY}"


def _times(overlap_days: int) -> list[RowCheck]:
    return [
        RowCheck("timestamp_in_range", "timestamp", IMPOSSIBLE_TIME),
        RowCheck("timestamp_in_partition", "timestamp", far_from_partition(overlap_days)),
    ]


IMPOSSIBLE_TIME = f"timestamp < {_EARLIEST_US} OR timestamp >= {_LATEST_US}"
_PARTITION = RowCheck("partition_name", "", "has_unknown_day")

# The length of an embedding of the right dimension: null for another dimension, NaN where a number is missing.
NORM = (
    "CASE WHEN len(embedding) = {dimension} THEN CASE WHEN list_count(embedding) < len(embedding) THEN 'nan'::DOUBLE "
    "ELSE sqrt(list_inner_product(CAST(embedding AS DOUBLE[]), CAST(embedding AS DOUBLE[]))) END END"
)
# The greatest number of float32, and one below the least positive one.
_GREATEST, _LEAST = 3.4028234663852886e38, 1e-45
_FIRST_BAD = f"list_position(list_transform(embedding, lambda x: coalesce(abs(x) <= {_GREATEST}, false)), false)"


def item_checks(
    attributes: Mapping[str, str], dimension: int | None, params: ValidationParams, text: str = ""
) -> list[RowCheck]:
    """The checks of a row of `items`, in the order in which they claim it.

    Args:
        attributes: `attr_<domain>` -> its column in the input.
        dimension: that all embeddings must have; None where items have texts instead.
        params: section `validate_logs`.
        text: SQL of an item's text, where there is no dimension.
    """
    if dimension is None:
        return _text_item_checks(attributes, text)
    item, low, high = quoted("item_id"), params.embedding_norm_min, params.embedding_norm_max
    # as text, a number beyond float32 is read as infinite
    number = f"coalesce(CAST(embedding[{_FIRST_BAD}] AS VARCHAR)::FLOAT, 'nan') || ' at number ' || {_FIRST_BAD} - 1"
    first_bad = f"coalesce({number}, 'longer than float32 can hold')"
    measured = f"norm BETWEEN {_LEAST} AND {_GREATEST}"
    return [
        RowCheck("not_null", "item_id", "item_id IS NULL", item),
        RowCheck("not_null", "embedding", _is_missing("embedding"), f"'item_id ' || {item}"),
        *(
            RowCheck("readable_value", column, f"{identifier(name + '_text')} IS NOT NULL", quoted(name + "_text"))
            for name, column in {"embedding": "embedding", **attributes}.items()
        ),
        RowCheck("item_id_not_empty", "item_id", "item_id = ''", item),
        RowCheck(
            "embedding_dimension",
            "embedding",
            f"len(embedding) <> {dimension} OR len(embedding) = 0",
            f"'not {dimension or 'positive'}: ' || len(embedding)",
        ),
        RowCheck("embedding_finite", "embedding", f"NOT norm <= {_GREATEST}", first_bad),
        RowCheck("embedding_non_zero", "embedding", f"norm < {_LEAST}", "len(embedding) || ' zeros'"),
        RowCheck(
            "embedding_norm",
            "embedding",
            f"{measured} AND NOT norm BETWEEN {low} AND {high}",
            f"printf('%.4g', norm) || ', not {low:g} to {high:g}'",
        ),
        RowCheck("item_id_unique", "item_id", "is_repeat", f"'item_id ' || {item} || ' again'"),
    ]


def _text_item_checks(attributes: Mapping[str, str], text: str) -> list[RowCheck]:
    item = quoted("item_id")
    return [
        RowCheck("not_null", "item_id", "item_id IS NULL", item),
        RowCheck("text_present", "title", f"NOT regexp_matches({text}, '[\\p{{L}}\\p{{N}}]')", f"'item_id ' || {item}"),
        *(
            RowCheck("readable_value", column, f"{identifier(name + '_text')} IS NOT NULL", quoted(name + "_text"))
            for name, column in attributes.items()
        ),
        RowCheck("item_id_not_empty", "item_id", "item_id = ''", item),
        RowCheck("item_id_unique", "item_id", "is_repeat", f"'item_id ' || {item} || ' again'"),
    ]


def interaction_checks(order: str, overlap_days: int) -> list[RowCheck]:
    """The checks of a row of `interactions` in the order of `timestamp` or `position`, as they claim it."""
    return [
        _PARTITION,
        *_nulls("null_in_interaction", ("sequence_id", "item_id", order), (order,)),
        RowCheck("empty_sequence_id", "sequence_id", "sequence_id = ''"),
        *(_times(overlap_days) if order == "timestamp" else []),
        RowCheck("unknown_item", "item_id", "item IS NULL"),
        RowCheck("duplicate_interaction", "item_id", "is_repeat"),
    ]


def label_checks(overlap_days: int) -> list[RowCheck]:
    """The checks of a row of `retrieval_labels` by itself."""
    parsed = ("timestamp", "rank", "label")
    return [_PARTITION, *_nulls("null_in_label", tuple(LABEL_COLUMNS), parsed), *_times(overlap_days)]


# The checks of a row of `retrieval_labels` among the rows of its request; labels.py makes their columns.
REQUEST_CHECKS = [
    RowCheck("unknown_label_domain", "domain", "domain_name IS NULL"),
    RowCheck("unknown_label_item", "anchor_item_id", "anchor IS NULL"),
    RowCheck("unknown_label_item", "item_id", "item IS NULL"),
    RowCheck("rank_positive", "rank", "rank < 1"),
    RowCheck("one_anchor_per_request", "timestamp", "timestamp <> usual_timestamp"),
    RowCheck("one_anchor_per_request", "domain", "domain <> usual_domain"),
    RowCheck("one_anchor_per_request", "anchor_item_id", "anchor_item_id <> usual_anchor"),
    RowCheck("duplicate_label", "rank", "times_rank > 1"),
    RowCheck("duplicate_label", "item_id", "item IS NOT NULL AND times_item > 1"),
    RowCheck("rank_contiguous", "rank", "missing_ranks > 0"),
]


# The words that name a part in the column `split`; the checks of `queries`, and of `labels` beside the other tables.
SPLIT_WORDS = {"train": 0, "validation": 1, "valid": 1, "dev": 1, "test": 2}
_SPLITS = ", ".join(f"'{word}'" for word in SPLIT_WORDS)
QUERY_CHECKS = [
    *_nulls("null_in_query", ("query_id", "text"), ()),
    RowCheck("query_text", "text", "NOT regexp_matches(text, '[\\p{L}\\p{N}]')"),
    RowCheck("query_split", "split", f"split IS NOT NULL AND lower(trim(split)) NOT IN ({_SPLITS})"),
    RowCheck("query_id_unique", "query_id", "times > 1"),
]
JUDGEMENT_CHECKS = [
    *_nulls("null_in_judgement", ("query_id", "item_id", "relevance"), ("relevance",)),
    RowCheck("relevance_range", "relevance", "NOT (isfinite(relevance) AND relevance >= 0)"),
    RowCheck("unknown_query", "query_id", "query IS NULL"),
    RowCheck("unknown_judged_item", "item_id", "item IS NULL"),
    RowCheck("duplicate_judgement", "item_id", "times > 1"),
]


def first_broken(checks: Sequence[RowCheck]) -> str:
    """SQL for the number of the first check that a row breaks; null for a good row."""
    cases = " ".join(f"WHEN {check.broken} THEN {number}" for number, check in enumerate(checks))
    return f"CAST(CASE {cases} END AS UTINYINT)"


def all_broken(checks: Sequence[RowCheck]) -> str:
    """SQL for a list of all checks that a row breaks, as `broken` (its number) and `value`; null for a good row."""
    cases = ", ".join(
        f"CASE WHEN {check.broken} THEN {{'broken': {number}, 'value': {check.shown}}} END"
        for number, check in enumerate(checks)
    )
    found = f"list_filter([{cases}], lambda each: each IS NOT NULL)"
    return f"CASE WHEN {first_broken(checks)} IS NOT NULL THEN {found} END"
