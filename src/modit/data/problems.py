"""Breaches of the input contract: collected while a table is read, reported together."""

from __future__ import annotations

from collections.abc import Collection
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
    """Collects breaches of rules on files and columns, to report all of them at once."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str, str | None], Problem] = {}

    def add(self, rule: str, file: str, column: str | None = None, detail: str = "") -> None:
        """Records one breach.

        Args:
            rule: a key of `RULES`.
            file: name of the file, relative to the input folder.
            column: the column that breaks the rule; None for the whole file.
            detail: what is there, and what is allowed.
        """
        problem = self._problems.setdefault((rule, file, column), Problem(rule, file, column))
        problem.count += 1
        if detail and len(problem.examples) < EXAMPLES_SHOWN:
            problem.examples.append(detail)

    def raise_if_any(self) -> None:
        """Reports everything that was recorded.

        Raises:
            ContractError: there is a problem; the message lists all of them.
        """
        if self._problems:
            raise _refusal(self._problems.values())


def breach(rule: str, file: str, column: str | None = None, detail: str = "") -> ContractError:
    """The error for one breach; arguments as in `ProblemLog.add`."""
    return _refusal([Problem(rule, file, column, 1, [detail] if detail else [])])


def _refusal(problems: Collection[Problem]) -> ContractError:
    lines = "\n".join(f"- {problem}" for problem in problems)
    breaches = tuple((p.file, p.rule, p.count, str(p)) for p in problems)
    return ContractError(f"the input breaks the contract (rows count from 0):\n{lines}", breaches)
