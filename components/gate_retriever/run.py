"""Judges a retriever: reads what was measured, the champion and the trial; computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.judged_once import retriever_of
from modit.release.bundle.judged_once import exported_digests
from modit.release.documents import read_strictly, write_document
from modit.release.gate.champion import Champion
from modit.release.gate.fan_out import RULES as FAN_OUT_RULES
from modit.release.gate.gate import overridden_thresholds
from modit.release.gate.judged_once import JudgedOnceEvidence, judge_once
from modit.release.gate.next_item import RULES as NEXT_ITEM_RULES
from modit.release.gate.search import RULES as SEARCH_RULES
from modit.release.kinds import kind_of
from modit.release.verdict import VERDICT_FILE, verdict_text
from modit.release.versioning.snapshot import load_versions

if TYPE_CHECKING:
    from modit.core.context import StepContext

RULES = {rules.name: rules for rules in (NEXT_ITEM_RULES, SEARCH_RULES, FAN_OUT_RULES)}


def run(context: StepContext) -> dict[str, object]:
    """Reads evaluation, champion, trial, versions, and parity of the exported retriever.

    Writes the verdict: verdict.json, verdict.txt, and its figures alone in metrics.json.
    """
    retriever = retriever_of(context.step)
    name, exported = retriever.name, context.input(retriever.exported)
    evidence = JudgedOnceEvidence(
        measured=read_strictly(context.input(retriever.evaluation) / "evaluation.json"),
        digests=exported_digests(kind_of(name), exported),
        champion=Champion.load(context.input(retriever.champion)),
        servability=read_strictly(context.input(retriever.servability) / "servability.json"),
        parity=read_strictly(exported / "parity.json"),
    )
    verdict = judge_once(evidence, RULES[name], getattr(context.params, retriever.gate))
    verdict["overridden"] = overridden_thresholds(context.run_config.overrides)
    verdict["versions"] = load_versions(context.input(retriever.versions))
    folder = context.output(retriever.verdict)
    write_document(folder / VERDICT_FILE, verdict)
    figures = {name: verdict["domains"][name]["figures"], "status": verdict["status"]}
    write_document(folder / "metrics.json", figures)
    (folder / "verdict.txt").write_text(verdict_text(verdict, most=None) + "\n", encoding="utf-8")
    context.logger.info("%s", verdict_text(verdict))
    return {"status": verdict["status"]}
