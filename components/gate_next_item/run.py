"""Judges the retriever of the next item: reads what was measured, the champion and the trial; computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.names import NEXT_ITEM
from modit.release.bundle.making import exported_digests
from modit.release.documents import read_strictly, write_document
from modit.release.gate.champion import Champion
from modit.release.gate.gate import overridden_thresholds
from modit.release.gate.next_item import NextItemEvidence, judge_next_item
from modit.release.verdict import VERDICT_FILE, verdict_text
from modit.release.versioning.snapshot import load_versions

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads evaluation, champion, trial, versions, and parity of the exported retriever.

    Writes `next_item_verdict`: verdict.json, verdict.txt, and its figures alone in metrics.json.
    """
    exported = context.input("exported_retriever")
    evidence = NextItemEvidence(
        measured=read_strictly(context.input("next_item_evaluation") / "evaluation.json"),
        digests=exported_digests(exported),
        champion=Champion.load(context.input("next_item_champion")),
        servability=read_strictly(context.input("next_item_servability") / "servability.json"),
        parity=read_strictly(exported / "parity.json"),
    )
    verdict = judge_next_item(evidence, context.params.gate_next_item)
    verdict["overridden"] = overridden_thresholds(context.run_config.overrides)
    verdict["versions"] = load_versions(context.input("next_item_versions"))
    folder = context.output("next_item_verdict")
    write_document(folder / VERDICT_FILE, verdict)
    figures = {NEXT_ITEM: verdict["domains"][NEXT_ITEM]["figures"], "status": verdict["status"]}
    write_document(folder / "metrics.json", figures)
    (folder / "verdict.txt").write_text(verdict_text(verdict, most=None) + "\n", encoding="utf-8")
    context.logger.info("%s", verdict_text(verdict))
    return {"status": verdict["status"]}
