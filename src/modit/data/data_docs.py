"""The data docs of a window: a page that says what happened, and a page of what each suite says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modit.data.drift import Drift
from modit.data.expectations import Judgement
from modit.data.measurements import Measurement
from modit.data.rules import RULES, TABLES

FOLDER = "data_docs"
INDEX = f"{FOLDER}/index.html"


def write_data_docs(
    folder: Path,
    outcome: Mapping[str, Any],
    measurements: Sequence[Measurement],
    drifts: Sequence[Drift],
    judgement: Judgement,
    days: Mapping[str, Mapping[str, int]],
) -> None:
    """Writes `data_docs/index.html` and a page for each suite into a folder; none of them fetches anything.

    `outcome` is the content of `outcome.json`; `days` gives table -> day -> rows accepted.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("modit.data"),
    )
    environment.filters |= {"measured": _measured, "number": lambda value: f"{value:,}", "shortly": _without_rule}
    environment.globals["rules"] = {name: rule.meaning for name, rule in RULES.items()}
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)

    def write(page: str, template: str, **content: Any) -> None:
        text = environment.get_template(template).render(content)
        (target / f"{page}.html").write_text(text, encoding="utf-8")

    for suite, verdicts in judgement.suites.items():
        unmeasured = judgement.unmeasured.get(suite, [])
        write(suite, "suite.html", suite=suite, verdicts=verdicts, unmeasured=unmeasured)
    rows = {table: [each for each in measurements if each.table == table] for table in TABLES}
    write(
        "index",
        "data_docs.html",
        outcome=outcome,
        tables=[(table, rows[table], judgement.unmeasured.get(table, [])) for table in TABLES if rows[table]],
        failing=judgement.failing(measurements),
        drifts=sorted(drifts, key=lambda drift: -drift.psi),
        suites=list(judgement.suites),
        days={table: counts for table, counts in days.items() if counts},
    )


def _measured(fact: Measurement) -> str:
    if fact.total and fact.low == 0:
        return f"{fact.value:.2%}" if fact.rows else "none"
    return f"{fact.value:.3g}"


def _without_rule(line: str, rule: str) -> str:
    """A line of details without what stands in the cells beside it."""
    return line.replace(f": rule {rule} ({RULES[rule].meaning})", "")
