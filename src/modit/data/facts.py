"""What was measured of a window, one fact a rule: the small table that Great Expectations judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from modit.core.errors import ContractError
from modit.data.problems import RULES

TABLES = ("items", "interactions", "retrieval_labels")
# Rules on files and columns: no row is read while one of them is broken.
FILE_RULES = ("file_present", "file_readable", "column_present", "column_type", "partition_name")
TABLE_RULES: dict[str, tuple[str, ...]] = {
    "items": ("attribute_present", "domain_name", "items_not_empty"),
    "interactions": ("one_order_column",),
    "retrieval_labels": (),
}


@dataclass(frozen=True)
class Fact:
    """One figure and the range that it may lie in.

    Attributes:
        table: `items`, `interactions` or `retrieval_labels`.
        rule: a key of `RULES`.
        value: what was measured; for a rule on rows, the share of rows that it caught.
        low: least value allowed.
        high: greatest value allowed.
        rows: rows that the rule caught.
        total: rows that it looked at.
        details: a line for each file and column that broke it, with three examples; or what the figure is made of.
    """

    table: str
    rule: str
    value: float
    low: float
    high: float
    rows: int = 0
    total: int = 0
    details: tuple[str, ...] = ()

    @property
    def is_breached(self) -> bool:
        """Whether the value lies outside its range."""
        return not self.low <= self.value <= self.high

    def __str__(self) -> str:
        lines = [f"  {line}" for line in self.details[:3]]
        if self.total and self.low == 0:
            head = f"- {self.rows} of {self.total} rows ({self.value:.2%}), allowed {self.high:.2%}:"
        else:
            head = f"- {self.table}: rule {self.rule} ({RULES[self.rule]}): {self.value:.4g}, "
            head += f"allowed {self.low:.4g} to {self.high:.4g}"
        return "\n".join([head, *lines])

    def as_json(self) -> dict[str, Any]:
        """The fact as a JSON value."""
        return {**asdict(self), "details": list(self.details), "breached": self.is_breached}


def contract_facts(table: str, breaches: Iterable[tuple[str, str, int, str]] = ()) -> list[Fact]:
    """How often each rule on files and columns of a table was broken; none may be.

    Args:
        table: the table.
        breaches: those of a `ContractError`; of any table.
    """
    mine = [breach for breach in breaches if breach[0].partition("/")[0].partition(".")[0] == table]
    rules = dict.fromkeys((*FILE_RULES, *TABLE_RULES[table], *(rule for _, rule, _, _ in mine)))
    return [
        Fact(
            table,
            rule,
            float(sum(count for _, broken, count, _ in mine if broken == rule)),
            0.0,
            0.0,
            details=tuple(text for _, broken, _, text in mine if broken == rule),
        )
        for rule in rules
    ]


def refuse(facts: Iterable[Fact]) -> None:
    """Refuses a window for facts that lie outside their ranges.

    Args:
        facts: those that do; nothing happens where there are none.

    Raises:
        ContractError: with rule, count and three examples of each.
    """
    lines = [str(fact) for fact in facts]
    if lines:
        raise ContractError("the input breaks the contract (rows count from 0):\n" + "\n".join(lines))
