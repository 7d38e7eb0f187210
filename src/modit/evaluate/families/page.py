"""`families.json` and `families.html`: families of retrievers side by side, in the style of the main report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from modit.core.run_config import RUN_FILE
from modit.data.sessions import SessionPart
from modit.evaluate.families.common_task import judge_on_sessions
from modit.evaluate.families.facts import Run, open_runs
from modit.evaluate.families.families import FAMILIES
from modit.evaluate.report.page import decimals, mark
from modit.evaluate.report.task_page import interval
from modit.evaluate.storage import rounded, write_json
from modit.evaluate.task import Json

PAGE_FILE, JSON_FILE = "families.html", "families.json"
SCHEMA_VERSION = 1


def compare_families(uris: Sequence[str], folder: Path, cases: int, seed: int = 0) -> list[Path]:
    """Writes both files into a folder, which is made.

    Args:
        uris: Addresses of runs over one catalogue.
        folder: To write to.
        cases: Most test sessions of the common task; 0 for all.
        seed: Of the bootstrap over users.

    Returns:
        The files.

    Raises:
        ConfigError: The runs cannot be compared.
    """
    runs = open_runs(uris)
    content = _content(runs) | {"next_item": judge_on_sessions(runs, cases, seed)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JSON_FILE, content)
    (folder / PAGE_FILE).write_text(render_page(content), encoding="utf-8")
    return [folder / PAGE_FILE, folder / JSON_FILE]


def _content(runs: Sequence[Run]) -> Json:
    """What the runs themselves say."""
    catalog = runs[0].catalog
    settings = [run.store.run.read_json(RUN_FILE) or {} for run in runs]
    return {
        "schema_version": SCHEMA_VERSION,
        "catalogue": str(settings[0].get("catalogue", "")).rstrip("/").rpartition("/")[2] or runs[0].name,
        "items": len(catalog),
        "sessions": len(catalog.sequences),
        "runs": [
            {"name": run.name, "uri": run.uri, "preset": each.get("preset"), "seed": each.get("seed")}
            for run, each in zip(runs, settings, strict=True)
        ],
        "notes": _notes(runs, [str(each.get("preset")) for each in settings]),
        "families": [member.as_json() for run in runs for member in run.members()],
    }


def _notes(runs: Sequence[Run], presets: Sequence[str]) -> list[str]:
    """What a reader must know of these runs before the figures."""
    notes = []
    first = runs[0].store.get("catalog").digest
    for run in runs[1:]:
        if run.store.get("catalog").digest != first:
            notes.append(
                f"{run.name} has the items of {runs[0].name}, and other sessions, verdicts or embeddings: what each "
                "says of its own task is of different data."
            )
    found = {member.family.name for run in runs for member in run.members()}
    if missing := [f"{each.name} (pipeline {each.pipeline})" for each in FAMILIES if each.name not in found]:
        notes.append(f"Families without a run here: {', '.join(missing)}.")
    if len(set(presets)) > 1:
        trained = ", ".join(f"{run.name} with {preset}" for run, preset in zip(runs, presets, strict=True))
        notes.append(f"The runs have different presets ({trained}): sizes, times and quality follow from these.")
    if "tiny" in presets:
        notes.append("Models of the preset tiny have learnt next to nothing: it is there to try out a pipeline.")
    return notes


def render_page(content: Json) -> str:
    """The page as HTML; nothing in it is fetched from anywhere.

    Args:
        content: Of `families.json`.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "decimals": decimals,
        "mark": mark,
        "interval": interval,
        "duration": duration,
        "size": size,
    }
    folder, shown = files("modit.evaluate"), rounded(content)
    template = environment.from_string((folder / "families" / "page.html").read_text(encoding="utf-8"))
    result = shown["next_item"].get("splits", {}).get(str(SessionPart.TEST))
    return template.render(
        content=shown,
        groups=[(name, list(group)) for name, group in groupby(shown["families"], lambda each: each["family"])],
        several_runs=len({(each["family"], each["run"]) for each in shown["families"]})
        > len({each["family"] for each in shown["families"]}),
        result=result if result and result["cases"] else None,
        style=Markup((folder / "report" / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
    )


def duration(seconds: float) -> str:
    """Seconds in words, such as "2 h 05 min", "3 min 20 s" or "12 s"."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"  # noqa: PLR2004


def size(mebibytes: float) -> str:
    """MiB in words."""
    return f"{mebibytes:,.1f} MiB" if mebibytes < 100 else f"{mebibytes:,.0f} MiB"  # noqa: PLR2004 - decimals help
