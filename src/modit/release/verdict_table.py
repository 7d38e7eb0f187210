"""`verdict.txt`: the verdict as a table for a terminal."""

from __future__ import annotations

from typing import Any

from modit.release.gate import AGAINST_AVERAGE, AGAINST_CLASSICAL, SPLITS

_HEADER = (
    "domain",
    "status",
    "split",
    "Joint@K HPPO",
    "average",
    "gain [95%]",
    "best classical",
    "gain [95%]",
    "Same@K",
    "reason",
)


def verdict_text(verdict: dict[str, Any]) -> str:
    """The verdict as aligned text: a line for each split of a domain, the first reason beside the first of them."""
    rows: list[tuple[str, ...]] = [_HEADER]
    for domain, content in verdict["domains"].items():
        rows += _domain_rows(domain, content)
    # The last column is free text; padding it would only add blanks.
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join([f"{verdict['status']} ({verdict['basis']})", "", *(line.rstrip() for line in lines)]) + "\n"


def _domain_rows(domain: str, content: dict[str, Any]) -> list[tuple[str, ...]]:
    figures, reason = content["splits"], content["reasons"][0]
    rows: list[tuple[str, ...]] = []
    for split in SPLITS:
        first = (domain, content["status"]) if not rows else ("", "")
        last = reason if not rows else ""
        if split in figures:
            rows.append((*first, split, *_cells(figures[split]), last))
    return rows or [(domain, content["status"], *("-" for _ in _HEADER[3:]), reason)]


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    joint, differences = figures["joint"], figures["differences"]
    return (
        f"{joint['hppo']:.3f}",
        f"{joint['average']:.3f}",
        _gain(differences[AGAINST_AVERAGE]),
        f"{joint['best_classical']:.3f} {figures['best_classical']}",
        _gain(differences[AGAINST_CLASSICAL]),
        f"{figures['same']:.3f}",
    )


def _gain(value: dict[str, float]) -> str:
    return f"{value['mean']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"
