"""`verdict.txt`: the verdict as a table for a terminal, and each domain's word below."""

from __future__ import annotations

from typing import Any

from modit.data.splits import HOLDOUTS
from modit.release.gate.figures import AGAINST_AVERAGE, AGAINST_CHAMPION, AGAINST_CLASSICAL
from modit.release.verdict import judged_in_words

_HEADER = (
    "domain",
    "status",
    "split",
    "Joint@K HPPO",
    "champion",
    "gain [95%]",
    "average",
    "gain [95%]",
    "best classical",
    "gain [95%]",
    "Same@K",
)


def verdict_text(verdict: dict[str, Any]) -> str:
    """The verdict as aligned text: a line for each split of a domain, then what it was judged against, and the word."""
    rows: list[tuple[str, ...]] = [_HEADER]
    for domain, content in verdict["domains"].items():
        rows += _domain_rows(domain, content)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    words = [_words(domain, content) for domain, content in verdict["domains"].items()]
    return "\n".join([verdict["status"], "", *lines, *words]) + "\n"


def _words(domain: str, content: dict[str, Any]) -> str:
    return "\n".join(["", domain, *(f"- {line}" for line in judged_in_words(content))])


def _domain_rows(domain: str, content: dict[str, Any]) -> list[tuple[str, ...]]:
    figures = content["splits"]
    rows: list[tuple[str, ...]] = []
    for split in HOLDOUTS:
        first = (domain, content["status"]) if not rows else ("", "")
        if split in figures:
            rows.append((*first, split, *_cells(figures[split])))
    return rows or [(domain, content["status"], *("-" for _ in _HEADER[2:]))]


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    joint, differences = figures["joint"], figures["differences"]
    champion = ("-", "-")
    if "champion" in joint:
        champion = (f"{joint['champion']:.3f}", _gain(differences[AGAINST_CHAMPION]))
    return (
        f"{joint['hppo']:.3f}",
        *champion,
        f"{joint['average']:.3f}",
        _gain(differences[AGAINST_AVERAGE]),
        f"{joint['best_classical']:.3f} {figures['best_classical']}",
        _gain(differences[AGAINST_CLASSICAL]),
        f"{figures['same']['hppo']:.3f}",
    )


def _gain(value: dict[str, float]) -> str:
    return f"{value['mean']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"
