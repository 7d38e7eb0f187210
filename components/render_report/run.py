"""Writes the report over all domains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.evaluate.report import RunFacts, save_report
from modit.evaluate.storage import load_evaluation, read_json

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `patterns` and the `evaluation` of every domain; writes `report`: report.json and report.html."""
    evaluations = {domain: load_evaluation(folder) for domain, folder in context.inputs_by_domain("evaluation").items()}
    skipped = read_json(context.input("patterns") / "domains.json")["skipped"] | context.left_out
    name = context.run_config.catalogue.rstrip("/").rsplit("/", 1)[-1]
    facts = RunFacts(name, context.run_config.preset, context.seed, skipped)
    report = save_report(context.output("report"), evaluations, facts)
    return {"counts": report["counts"]}
