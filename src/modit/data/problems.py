"""Breaches of the input contract: collected while a table is read, reported together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modit.core.errors import ContractError
from modit.data.rules import RULES

EXAMPLES_SHOWN = 3


@dataclass
class Problem:
    """Breaches of one rule in one column of one file: how many, and the first few."""

    rule: str
    file: str
    column: str | None
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        place = self.file if not self.column else f"{self.file}, column '{self.column}'"
        text = f"{place}: rule {self.rule} ({RULES[self.rule].meaning}) broken {self.count}x"
        return f"{text}: {'; '.join(self.examples)}" if self.examples else text


class ProblemLog:
    """Collects breaches, in constant memory, to report all of them at once."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str, str | None], Problem] = {}

    def add(self, rule: str, file: str, column: str | None = None, detail: str = "") -> None:
        """Records one breach that is not tied to a row."""
        self.add_rows(rule, file, column, 1, [detail] if detail else [])

    def add_rows(self, rule: str, file: str, column: str | None, count: int, examples: Sequence[str]) -> None:
        """Records breaches in rows of a file.

        Args:
            rule: a key of `RULES`.
            file: name of the file, relative to the input folder.
            column: the column that breaks the rule; None for the whole row or file.
            count: how many rows.
            examples: the first of them, such as "row 3: item_id 'i1'".
        """
        if count:
            problem = self._problems.setdefault((rule, file, column), Problem(rule, file, column))
            problem.count += count
            problem.examples.extend(examples[: EXAMPLES_SHOWN - len(problem.examples)])

    def of_rule(self, rule: str) -> list[Problem]:
        """The problems recorded for one rule, in order of appearance."""
        return [problem for problem in self._problems.values() if problem.rule == rule]

    def raise_if_any(self) -> None:
        """Reports everything that was recorded.

        Raises:
            ContractError: there is a problem; the message lists all of them.
        """
        if self._problems:
            lines = "\n".join(f"- {problem}" for problem in self._problems.values())
            breaches = tuple((p.file, p.rule, p.count, str(p)) for p in self._problems.values())
            raise ContractError(f"the input breaks the contract (rows count from 0):\n{lines}", breaches)
