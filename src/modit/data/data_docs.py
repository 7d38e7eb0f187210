"""The data docs of a window: a page that says what happened, and Great Expectations' page of each suite, offline."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from modit.data.drift import Drift
from modit.data.expectations import Judgement
from modit.data.facts import TABLES, Fact
from modit.data.problems import RULES

Json = Mapping[str, Any]

FOLDER = "data_docs"
INDEX = f"{FOLDER}/index.html"
_MAIN = re.compile(r'<div class="col-md-10[^>]*>(.*)</div>\s*</div>\s*</div>\s*<footer>', re.DOTALL)
_FETCHED = re.compile(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>", re.DOTALL)
_MORE = re.compile(r'<div id="section-1-content-block-3".*?(?=<div id="section-2")', re.DOTALL)
_LINK = re.compile(r'<a href="\.\./[^>]*>(.*?)</a>', re.DOTALL)
_HEADER = re.compile(r'(<h5 class="m-0" >)\s*([a-z_]+)\s*(</h5>)')
_CELL_IDS = re.compile(r' id="[^"]*"')


def write_data_docs(
    folder: Path, outcome: Json, facts: Sequence[Fact], drifts: Sequence[Drift], judgement: Judgement, days: Json
) -> None:
    """Writes `data_docs/index.html` and a page for each suite; none of them fetches anything.

    Args:
        folder: the artifact in the making.
        outcome: content of `outcome.json`.
        facts: what was measured.
        drifts: how far columns have moved.
        judgement: what the suites say.
        days: table -> day -> rows accepted.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for suite, page in judgement.pages.items():
        (target / f"{suite}.html").write_text(offline(page, suite), encoding="utf-8")
    rows = {table: [fact for fact in facts if fact.table == table] for table in TABLES}
    content = (
        _environment()
        .get_template("data_docs.html")
        .render(
            outcome=outcome,
            style=_style(),
            tables=[(table, rows[table], judgement.unmeasured.get(table, [])) for table in TABLES if rows[table]],
            failing=judgement.failing(facts),
            drifts=sorted(drifts, key=lambda drift: -drift.psi),
            suites=list(judgement.pages),
            charts={table: _bars(counts) for table, counts in days.items() if counts},
            rules=RULES,
        )
    )
    (target / "index.html").write_text(content, encoding="utf-8")


def offline(page: str, suite: str) -> str:
    """A page of Great Expectations without what it would fetch, with our style and the meaning of each rule.

    Args:
        page: HTML as rendered.
        suite: its name.
    """
    found = _MAIN.search(page)
    main = _MORE.sub("", found[1] if found else page)
    main = _LINK.sub(r"\1", _FETCHED.sub("", main))
    main = _HEADER.sub(lambda m: f"{m[1]}{m[2]}{m[3]}<p>{html.escape(_meaning(m[2]))}</p>", main)
    main = _CELL_IDS.sub("", main).replace("Data asset: None", "")
    main = "\n".join(line.strip() for line in main.splitlines() if line.strip())
    return _environment().get_template("suite.html").render(suite=suite, style=_style(), main=_markup(main))


def _meaning(column: str) -> str:
    if column in ("psi", "distance"):
        return f"{RULES[f'drift_{column}']}; the lower limit warns, the higher one refuses the window"
    return RULES.get(column, "")


def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def read(name: str) -> str:
        return (files("modit.data") / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    )
    environment.filters |= {"measured": _measured, "number": lambda value: f"{value:,}", "shortly": _without_rule}
    return environment


def _measured(fact: Fact) -> str:
    if fact.total and fact.low == 0:
        return f"{fact.value:.2%}" if fact.rows else "none"
    return f"{fact.value:.3g}"


def _style() -> Any:
    return _markup((files("modit.data") / "templates" / "data_docs.css").read_text(encoding="utf-8"))


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own file, or escaped by Great Expectations


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
    return line.replace(f": rule {rule} ({RULES[rule]})", "")
