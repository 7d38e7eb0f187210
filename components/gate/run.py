"""Judges the run: reads the report, what it rests on, the champions and the trials; computes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modit.core.errors import ArtifactError
from modit.release.gate.champion import Champion
from modit.release.gate.evidence import Evidence, read_strictly
from modit.release.gate.gate import judge, overridden_thresholds
from modit.release.gate.verdict_table import verdict_text
from modit.release.params import GateParams
from modit.release.versioning.snapshot import load_versions

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `report` and `versions`; `evaluation`, `champion`, `servability` and `sampler` of every domain.

    Writes `verdict`: verdict.json, verdict.txt, and its figures alone in metrics.json.
    """
    report = read_strictly(context.input("report") / "report.json")
    params = GateParams.model_validate(context.params.gate.model_dump())
    verdict = judge(_evidence(context, report["domains"]), report["run"]["skipped_domains"], params)
    verdict["overridden"] = overridden_thresholds(context.run_config.overrides)
    verdict["versions"] = load_versions(context.input("versions"))
    folder, text = context.output("verdict"), verdict_text(verdict)
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    figures = {name: domain["figures"] for name, domain in verdict["domains"].items()} | {"status": verdict["status"]}
    (folder / "metrics.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "verdict.txt").write_text(text, encoding="utf-8")
    context.logger.info("%s", text)
    return {"status": verdict["status"]}


def _evidence(context: StepContext, reported: dict[str, dict]) -> list[Evidence]:
    names = ("evaluation", "sampler", "champion", "servability")
    evaluations, samplers, champions, trials = (context.inputs_by_domain(name) for name in names)
    if reported.keys() != evaluations.keys():
        raise ArtifactError(f"report.json has the domains {sorted(reported)}; the run has {sorted(evaluations)}")
    return [
        Evidence(
            domain=domain,
            content=reported[domain],
            measured=read_strictly(folder / "evaluation.json"),
            sampler=read_strictly(samplers[domain] / "sampler.json"),
            champion=Champion.load(champions[domain]),
            servability=read_strictly(trials[domain] / "servability.json"),
            parity=read_strictly(samplers[domain] / "parity.json"),
        )
        for domain, folder in evaluations.items()
    ]
