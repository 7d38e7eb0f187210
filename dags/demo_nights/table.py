"""The nights as a table, and where they departed from the scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dags.demo_nights.checks import NightResult, Observation
from dags.demo_nights.scenario import Night
from modit.core.storage import Storage
from modit.data.nightly import ACCEPTED, REFUSED

HEADINGS = (
    "night",
    "window",
    "its logs",
    "rows read",
    "set aside",
    "late",
    "outcome",
    "why",
    "verdict",
    "registered",
    "aliases after it",
    "items new / removed",
    "data docs",
)


@dataclass(frozen=True)
class Ended:
    """How a night ended.

    Attributes:
        night: of the scenario.
        status: Airflow's, 0 when no task failed.
        result: what the artifacts say.
        seen: what registry, index and online store answered after it.
    """

    night: Night
    status: int
    result: NightResult
    seen: Observation


def night_table(nights: Sequence[Ended], folder: Path) -> str:
    """A table in Markdown, a line a night, and below it what was asked about items that came or went.

    Args:
        nights: in their order.
        folder: that addresses are relative to.
    """
    rows = [HEADINGS, *(_row(ended, folder) for ended in nights)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    ruler = _line(tuple("-" * width for width in widths), widths)
    asked = [sentence for before, ended in enumerate(nights) if before for sentence in _items_asked(ended)]
    return "\n".join([lines[0], ruler, *lines[1:], "", *asked]) + "\n"


def departures(nights: Sequence[Ended]) -> Iterator[str]:
    """Where the nights departed from the scenario, a sentence each."""
    aliases: list[str] = []
    for ended in nights:
        yield from (f"{ended.night.name}: {sentence}" for sentence in _departures(ended, aliases))
        aliases = ended.seen.aliases


def _departures(ended: Ended, aliases_before: list[str]) -> Iterator[str]:
    result, expected = ended.result, ended.night.expected
    if result.outcome["outcome"] != expected:
        yield f"outcome {result.outcome['outcome']}, expected {expected}"
    if (ended.status != 0) != (expected == REFUSED):
        yield f"Airflow ended with status {ended.status}"
    if (expected == ACCEPTED) != bool(result.versions):
        yield f"registered {', '.join(result.versions) or 'nothing'}"
    if expected != ACCEPTED and ended.seen.aliases != aliases_before:
        yield f"aliases were {aliases_before} and are {ended.seen.aliases}"
    yield from ended.seen.wrong


def _row(ended: Ended, folder: Path) -> tuple[str, ...]:
    result, outcome = ended.result, ended.result.outcome
    rows = outcome["tables"].get("interactions", {})
    aside = [f"{count} {rule}" for rule, count in sorted(rows.get("quarantined", {}).items())]
    window = outcome["window"]
    return (
        ended.night.name,
        f"{window['start']} to {window['end']}",
        ended.night.logs,
        str(rows.get("rows", "")),
        ", ".join(aside) or "0",
        str(outcome["late_rows"]),
        outcome["outcome"],
        "; ".join(f"worth a look: {warning}" for warning in outcome["warnings"]) or outcome["reason"],
        result.verdict or "-",
        ", ".join(result.versions) or "-",
        ", ".join(ended.seen.aliases) or "-",
        f"{result.published} / {result.removed}" if result.versions else "-",
        Storage(result.data_docs).uri.removeprefix(f"{folder}/"),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)) + " |"


def _items_asked(ended: Ended) -> Iterator[str]:
    new, removed, wrong = ended.seen.new, ended.seen.removed, ended.seen.wrong
    if new or removed:
        found = f"; wrong: {'; '.join(wrong[:3])} ({len(wrong)} answers)" if wrong else " (so it was)"
        come, gone = (f"{len(items)} ({', '.join(items[:2])}, ...)" for items in (new, removed))
        yield (
            f"Asked right after {ended.night.name}: the new items, {come}, must be in the index and in the online "
            f"store, the removed ones, {gone}, in neither{found}."
        )
