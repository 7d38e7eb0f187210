"""The report of a task that is judged once for a catalogue: a self-contained page with the style of the main report.

The template of a task is `page.html` beside its code, in the folder of its name.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from modit.evaluate.report.page import decimals, mark, setting
from modit.evaluate.storage import rounded

PAGE_FILE = "report.html"


def save_page(folder: Path, content: dict[str, Any], catalogue: str) -> None:
    """Writes `report.html` into an existing folder; the same evaluation gives the same bytes.

    Args:
        folder: of the artifact.
        content: of `evaluation.json`; its field `task` says whose template is filled.
        catalogue: name of the input.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"decimals": decimals, "mark": mark, "setting": setting, "interval": interval}
    folders = files("modit.evaluate")
    template = environment.from_string((folders / content["task"] / "page.html").read_text(encoding="utf-8"))
    style = (folders / "report" / "page.css").read_text(encoding="utf-8")
    page = template.render(
        evaluation=rounded(content),
        catalogue=catalogue,
        style=Markup(style),  # noqa: S704 - our own file
    )
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")


def interval(value: dict[str, Any], signed: bool = False, places: int = 4) -> str:
    """[low, high] of the bootstrap over users or patterns; nothing where there is none."""
    if value["pattern_low"] is None:
        return ""
    form = f"{'+' if signed else ''}.{places}f"
    return f"[{value['pattern_low']:{form}}, {value['pattern_high']:{form}}]".replace("-", "−")
