"""What was measured of a window: one figure for each rule, and the range that it may lie in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from modit.core.errors import ContractError
from modit.data.params import ValidationParams
from modit.data.rules import NONE, RULES


@dataclass(frozen=True)
class Measurement:
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

    @property
    def override(self) -> str | None:
        """The option that lets these rows through, as `make run` takes it; None where no option does."""
        option = RULES[self.rule].option(self.table) if self.is_breached else None
        return option and f"OVERRIDES='{json.dumps({option: math.ceil(self.value * 100) / 100})}'"

    def __str__(self) -> str:
        lines = [f"  {line}" for line in self.details[:3]]
        if self.total and self.low == 0:
            head = f"- {self.rows} of {self.total} rows ({self.value:.2%}), allowed {self.high:.2%}:"
        else:
            head = f"- {self.table}: rule {self.rule} ({RULES[self.rule].meaning}): {self.value:.4g}, "
            head += f"allowed {self.low:.4g} to {self.high:.4g}"
        allow = [f"  to leave these rows out and go on: {self.override}"] if self.override else []
        return "\n".join([head, *lines, *allow])

    def as_json(self) -> dict[str, Any]:
        """The measurement as a JSON value."""
        return {**asdict(self), "details": list(self.details), "breached": self.is_breached}


def measured(
    table: str,
    rule: str,
    value: float,
    params: ValidationParams,
    rows: int = 0,
    total: int = 0,
    details: Iterable[str] = (),
) -> Measurement:
    """A measurement, with the range that the rule has in section `validate_logs`."""
    low, high = RULES[rule].bounds(table, params)
    return Measurement(table, rule, value, low, high, rows, total, tuple(details))


def contract_measurements(table: str, breaches: Iterable[tuple[str, str, int, str]] = ()) -> list[Measurement]:
    """How often each rule on files and columns of a table was broken, by the breaches of a `ContractError`."""
    found = []
    for name, rule in RULES.items():
        if rule.ranges.get(table) == NONE:
            mine = [
                (count, text)
                for file, broken, count, text in breaches
                if broken == name and file.partition("/")[0].partition(".")[0] == table
            ]
            details = tuple(text for _, text in mine)
            found.append(Measurement(table, name, float(sum(n for n, _ in mine)), 0.0, 0.0, details=details))
    return found


def refuse(measurements: Iterable[Measurement]) -> None:
    """Refuses a window for measurements that lie outside their ranges.

    Raises:
        ContractError: there is such a measurement; with rule, count and three examples of each.
    """
    lines = [str(measurement) for measurement in measurements]
    if lines:
        raise ContractError("the input breaks the contract (rows count from 0):\n" + "\n".join(lines))
