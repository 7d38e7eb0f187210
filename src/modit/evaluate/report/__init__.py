"""The report over all domains: `report.json` and the self-contained `report.html`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modit.evaluate.report.content import Json, RunFacts, build_report
from modit.evaluate.report.page import render_page
from modit.evaluate.storage import rounded, write_json

REPORT_FILE, PAGE_FILE = "report.json", "report.html"

__all__ = ["PAGE_FILE", "REPORT_FILE", "RunFacts", "build_report", "render_page", "save_report"]


def save_report(folder: Path, evaluations: Mapping[str, Json], facts: RunFacts) -> Json:
    """Writes both files into an existing folder; the same evaluations give the same bytes.

    Args:
        folder: of the artifact.
        evaluations: domain -> content of its `evaluation.json`.
        facts: of the run.

    Returns:
        The content of `report.json`.
    """
    report: Json = rounded(build_report(evaluations, facts))
    write_json(folder / REPORT_FILE, report)
    (folder / PAGE_FILE).write_text(render_page(report), encoding="utf-8")
    return report
