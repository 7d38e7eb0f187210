"""Judges the run: reads the report, the parity tables and the versions of its data, computes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.sections import GateParams
from modit.release.gate import judge
from modit.release.snapshot import load_versions
from modit.release.verdict_table import verdict_text

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `report`, `versions` and the `sampler` of every domain.

    Writes `verdict`: verdict.json, verdict.txt, and its figures alone in metrics.json.
    """
    parity = {domain: _read(folder / "parity.json") for domain, folder in context.inputs_by_domain("sampler").items()}
    params = GateParams.model_validate(context.params.gate.model_dump())
    verdict = judge(_read(context.input("report") / "report.json"), parity, params)
    verdict["versions"] = load_versions(context.input("versions"))
    folder, text = context.output("verdict"), verdict_text(verdict)
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    figures = {name: domain["figures"] for name, domain in verdict["domains"].items()} | {"status": verdict["status"]}
    (folder / "metrics.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "verdict.txt").write_text(text, encoding="utf-8")
    context.logger.info("%s", text)
    return {"status": verdict["status"]}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
