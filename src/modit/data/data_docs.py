"""The data docs of a window: a page that says what happened, and a page of what each suite says."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from modit.data.drift import Drift
from modit.data.expectations import Judgement
from modit.data.measurements import Measurement
from modit.data.rules import RULES, TABLES

Json = Mapping[str, Any]

FOLDER = "data_docs"
INDEX = f"{FOLDER}/index.html"


def write_data_docs(
    folder: Path,
    outcome: Json,
    measurements: Sequence[Measurement],
    drifts: Sequence[Drift],
    judgement: Judgement,
    days: Json,
) -> None:
    """Writes `data_docs/index.html` and a page for each suite; none of them fetches anything.

    Args:
        folder: the artifact in the making.
        outcome: content of `outcome.json`.
        measurements: what was measured.
        drifts: how far columns have moved.
        judgement: what the suites say.
        days: table -> day -> rows accepted.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    environment, meanings = _environment(), {name: rule.meaning for name, rule in RULES.items()}
    for suite, verdicts in judgement.suites.items():
        page = environment.get_template("suite.html").render(
            suite=suite,
            style=_style(),
            verdicts=verdicts,
            rules=meanings,
            unmeasured=judgement.unmeasured.get(suite, []),
        )
        (target / f"{suite}.html").write_text(page, encoding="utf-8")
    rows = {table: [each for each in measurements if each.table == table] for table in TABLES}
    content = environment.get_template("data_docs.html").render(
        outcome=outcome,
        style=_style(),
        tables=[(table, rows[table], judgement.unmeasured.get(table, [])) for table in TABLES if rows[table]],
        failing=judgement.failing(measurements),
        drifts=sorted(drifts, key=lambda drift: -drift.psi),
        suites=list(judgement.suites),
        charts={table: _bars(counts) for table, counts in days.items() if counts},
        rules=meanings,
    )
    (target / "index.html").write_text(content, encoding="utf-8")


def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def read(name: str) -> str:
        return (files("modit.data") / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    )
    environment.filters |= {"measured": _measured, "number": lambda value: f"{value:,}", "shortly": _without_rule}
    return environment


def _measured(fact: Measurement) -> str:
    if fact.total and fact.low == 0:
        return f"{fact.value:.2%}" if fact.rows else "none"
    return f"{fact.value:.3g}"


def _style() -> Any:
    return _markup((files("modit.data") / "templates" / "data_docs.css").read_text(encoding="utf-8"))


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own files


def _bars(counts: Mapping[str, int], width: int = 720, height: int = 90) -> Any:
    days = list(counts)
    most, step = max(*counts.values(), 1), width / len(days)
    bars = [_bar(number, day, counts[day], step, height / most, height) for number, day in enumerate(days)]
    label = f"rows accepted a day, {days[0]} to {days[-1]}, at most {most:,}"
    head = f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{label}">'
    return _markup(f'{head}{"".join(bars)}</svg><p class="caption">{label}</p>')


def _bar(number: int, day: str, count: int, step: float, scale: float, height: int) -> str:
    tall = count * scale
    place = f'x="{number * step:.1f}" y="{height - tall:.1f}" width="{max(step - 1, 0.5):.1f}" height="{tall:.1f}"'
    return f"<rect {place}><title>{html.escape(day)}: {count:,} rows</title></rect>"


def _without_rule(line: str, rule: str) -> str:
    """A line of details without what stands in the cells beside it."""
    return line.replace(f": rule {rule} ({RULES[rule].meaning})", "")
