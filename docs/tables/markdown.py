"""What all tables share: Markdown, and the folder of the repository."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table.

    Args:
        header: titles of the columns.
        rows: cells; line breaks and bars are escaped.

    Returns:
        The lines, ending with a line break.
    """
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def code(names: Iterable[str]) -> str:
    """Names as code, separated by spaces."""
    return " ".join(f"`{name}`" for name in names)
