"""Judges the run: reads what was measured, the champions and the trials; computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.errors import ArtifactError
from modit.release.documents import read_strictly, write_document
from modit.release.gate.champion import Champion
from modit.release.gate.gate import Evidence, judge, overridden_thresholds
from modit.release.verdict import VERDICT_FILE, verdict_text
from modit.release.versioning.snapshot import load_versions

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `report` and `versions`, and of every domain `evaluation`, `champion`, `servability` and `sampler`.

    Writes `verdict`: verdict.json, verdict.txt, and its figures alone in metrics.json.
    """
    report = read_strictly(context.input("report") / "report.json")
    failed = context.left_out
    skipped = {name: why for name, why in report["run"]["skipped_domains"].items() if name not in failed}
    verdict = judge(_evidence(context, set(report["domains"]) - set(failed)), skipped, context.params.gate, failed)
    verdict["overridden"] = overridden_thresholds(context.run_config.overrides)
    verdict["versions"] = load_versions(context.input("versions"))
    figures = {name: domain["figures"] for name, domain in verdict["domains"].items()} | {"status": verdict["status"]}
    folder = context.output("verdict")
    write_document(folder / VERDICT_FILE, verdict)
    write_document(folder / "metrics.json", figures)
    (folder / "verdict.txt").write_text(verdict_text(verdict, most=None) + "\n", encoding="utf-8")
    context.logger.info("%s", verdict_text(verdict))
    return {"status": verdict["status"]}


def _evidence(context: StepContext, reported: set[str]) -> list[Evidence]:
    names = ("evaluation", "sampler", "champion", "servability")
    evaluations, samplers, champions, trials = (context.inputs_by_domain(name) for name in names)
    if reported != set(evaluations):
        raise ArtifactError(f"report.json has the domains {sorted(reported)}; the run has {sorted(evaluations)}")
    return [
        Evidence(
            domain=domain,
            measured=read_strictly(folder / "evaluation.json"),
            sampler=read_strictly(samplers[domain] / "sampler.json"),
            champion=Champion.load(champions[domain]),
            servability=read_strictly(trials[domain] / "servability.json"),
            parity=read_strictly(samplers[domain] / "parity.json"),
        )
        for domain, folder in evaluations.items()
    ]
