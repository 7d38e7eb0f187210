"""The report of the task `search`: one self-contained page with the style of the main report."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from modit.evaluate.next_item.page import PAGE_FILE, interval
from modit.evaluate.report.page import decimals, mark, setting
from modit.evaluate.storage import rounded


def save_page(folder: Path, content: dict[str, Any], catalogue: str) -> None:
    """Writes `report.html` into an existing folder; the same evaluation gives the same bytes.

    Args:
        folder: of the artifact.
        content: of `evaluation.json`.
        catalogue: name of the input.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"decimals": decimals, "mark": mark, "setting": setting, "interval": interval}
    template = environment.from_string((files("modit.evaluate.search") / "page.html").read_text(encoding="utf-8"))
    style = (files("modit.evaluate.report") / "page.css").read_text(encoding="utf-8")
    page = template.render(
        evaluation=rounded(content),
        catalogue=catalogue,
        style=Markup(style),  # noqa: S704 - our own file
    )
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")
