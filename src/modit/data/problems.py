"""The rules of the input contract, and the collector that reports every breach of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from modit.core.errors import ContractError

EXAMPLES_SHOWN = 3

RULES: dict[str, str] = {
    "file_present": "each table is one parquet file or one folder that holds parquet files",
    "file_readable": "each file is valid parquet",
    "column_present": "required columns exist, and every part of a table has the same ones",
    "column_type": "each column has the type of the contract, the same in every part",
    "attribute_present": "items have at least one attr_<domain> column",
    "domain_name": "a domain name has lower-case letters, digits and underscores only, and starts with a letter",
    "items_not_empty": "there is at least one item",
    "not_null": "item_id, embedding and attr_<domain> have no nulls",
    "item_id_not_empty": "item_id is not the empty string",
    "item_id_unique": "item_id occurs once over all parts",
    "embedding_dimension": "all embeddings have one and the same dimension",
    "embedding_finite": "embeddings have no null, NaN or infinite number",
    "embedding_non_zero": "embeddings are not all zeros",
    "embedding_norm": "embeddings as delivered are as long as section validate_logs says",
    "one_order_column": "interactions have either timestamp or position, not both and not neither",
    "interactions_not_empty": "the window holds at least one sequence of two known items",
    "null_in_interaction": "sequence_id, item_id and timestamp or position have no nulls",
    "unknown_item": "the item_id of an interaction exists in items",
    "empty_sequence_id": "sequence_id is not the empty string",
    "duplicate_interaction": "sequence_id, item_id and timestamp or position occur once together",
    "timestamp_in_range": "timestamp lies in the years 2000 to 2099",
    "timestamp_in_partition": "timestamp lies within overlap_days of the day that the folder date=YYYY-MM-DD names",
    "partition_name": "a folder date=... names a day as YYYY-MM-DD",
    "time_order": "rows of a file are written in the order of time",
    "null_in_label": "all columns of a retrieval label have values",
    "unknown_label_domain": "the domain of a retrieval label has a column attr_<domain> in items",
    "unknown_label_item": "anchor_item_id and item_id of a retrieval label exist in items",
    "rank_positive": "ranks count from 1",
    "rank_contiguous": "the ranks of a request have no hole",
    "duplicate_label": "a rank and an item occur once in a request",
    "one_anchor_per_request": "all rows of a request have one timestamp, domain and anchor_item_id",
    "days_present": "days of the window have rows",
    "volume": "rows a day are what the last accepted windows had",
    "label_rate": "the share of positive labels of a domain lies in the band of the last accepted windows",
    "attribute_rate": "the share of items with an attribute lies in the band of the last accepted windows",
    "drift_psi": "the population stability index of a column against the last accepted window is small",
    "drift_distance": "the two-sample test of a column against the last accepted window finds no large distance",
}


@dataclass
class Problem:
    """Breaches of one rule in one column of one file: how many, and the first few."""

    rule: str
    file: str
    column: str | None
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        place = self.file if self.column is None else f"{self.file}, column '{self.column}'"
        text = f"{place}: rule {self.rule} ({RULES[self.rule]}) broken {self.count}x"
        return f"{text}: {'; '.join(self.examples)}" if self.examples else text


class ProblemLog:
    """Collects breaches while a table streams by, in constant memory, to report them all at once."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str, str | None], Problem] = {}

    def __len__(self) -> int:
        return len(self._problems)

    def add(self, rule: str, file: str, column: str | None = None, detail: str = "") -> None:
        """Records one breach that is not tied to a row."""
        self._note(rule, file, column, 1, [detail] if detail else [])

    def add_rows(
        self, rule: str, file: str, column: str, rows: Sequence[int] | np.ndarray, values: Sequence[object]
    ) -> None:
        """Records breaches in rows of a file.

        Args:
            rule: a key of `RULES`.
            file: name of the file, relative to the input folder.
            column: the column that breaks the rule.
            rows: row numbers inside the file, counted from 0.
            values: what stands there, one per row; only the first few are read.
        """
        if len(rows) == 0:
            return
        shown = zip(rows[:EXAMPLES_SHOWN], values[:EXAMPLES_SHOWN], strict=True)
        self._note(rule, file, column, len(rows), [f"row {row}: {value}" for row, value in shown])

    def of_rule(self, rule: str) -> list[Problem]:
        """The problems recorded for one rule, in order of appearance."""
        return [problem for problem in self._problems.values() if problem.rule == rule]

    def raise_if_any(self) -> None:
        """Raises `ContractError` that lists every problem, if there is one."""
        if self._problems:
            lines = "\n".join(f"- {problem}" for problem in self._problems.values())
            breaches = tuple((p.file, p.rule, p.count, str(p)) for p in self._problems.values())
            raise ContractError(f"the input breaks the contract (rows count from 0):\n{lines}", breaches)

    def _note(self, rule: str, file: str, column: str | None, count: int, examples: list[str]) -> None:
        problem = self._problems.setdefault((rule, file, column), Problem(rule, file, column))
        problem.count += count
        problem.examples.extend(examples[: EXAMPLES_SHOWN - len(problem.examples)])
