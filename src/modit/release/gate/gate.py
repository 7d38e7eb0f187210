"""The gate with two keys: a domain passes where its candidate is better than what answers today, and can be served.

The gate measures nothing: every figure in a verdict was written by the step that measured it. The page "gate" of the
documentation states the conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from modit.core.errors import ArtifactError
from modit.core.names import JUDGED_ONCE
from modit.core.params import nested
from modit.data.splits import HOLDOUTS
from modit.evaluate.names import AGAINST_CHAMPION, SERVED, SERVED_AGAINST_AVERAGE
from modit.inference.answers import TOLERANCE
from modit.release.documents import Json, parse_document
from modit.release.gate.champion import NONE, OTHER_SPACE, READY, Champion
from modit.release.gate.figures import SplitFigures, read_figures
from modit.release.gate.quality import Finding, enough_patterns, items_kept, nothing_judged, split_findings
from modit.release.gate.servability import CHECKS, LOADS, Check
from modit.release.kinds import SAMPLER
from modit.release.params import GateParams
from modit.release.verdict import FAIL, FAILED, PASS, SKIPPED

QUALITY, SERVABILITY = "quality", "servability"
FIRST = "no champion: absolute thresholds"
# Sections that say what a candidate must reach.
_JUDGING = ("gate", *(f"gate_{name}" for name in JUDGED_ONCE), "servability")


@dataclass(frozen=True)
class Evidence:
    """What was measured of one domain: the contents of the files that the gate reads.

    Attributes:
        domain: Its name.
        measured: `evaluation.json`.
        sampler: `sampler.json` of the candidate.
        champion: As it was fetched.
        servability: `servability.json`.
        parity: `parity.json`.
    """

    domain: str
    measured: Json
    sampler: Json
    champion: Champion
    servability: Json
    parity: Json

    def verify(self) -> None:
        """Checks that the parts belong together.

        Raises:
            ArtifactError: One of them was edited, or is of another run; it is named.
        """
        measured, sampler, trial = self.measured, self.sampler, self.servability
        index = measured.get("catalog", {}).get("index_digest")
        digests = ("sampler_digest", "index_digest")
        model, readout = ("model_digest", "readout_digest")
        judged_stage, stage = "candidate_second_stage", "second_stage_digest"
        pairs = (
            ("evaluation.json: candidate", measured.get("candidate"), model, sampler.get(model)),
            ("evaluation.json: candidate_readout", measured.get("candidate_readout"), readout, sampler.get(readout)),
            (f"evaluation.json: {judged_stage}", measured.get(judged_stage), stage, trial.get(stage)),
            ("evaluation.json: champion", measured.get("champion"), "champion.json", self.champion.facts),
            ("evaluation.json: index_digest", index, "index_digest", sampler.get("index_digest")),
            *((f"servability.json: {name}", trial.get(name), name, sampler.get(name)) for name in digests),
        )
        for what, found, other, expected in pairs:
            if found is None or found != expected:
                raise ArtifactError(
                    f"domain {self.domain}, {what} is {found}; the candidate's {other} is {expected}: not of one run"
                )


def overridden_thresholds(overrides: Mapping[str, Any]) -> Json:
    """The overrides of a run, nested or dotted, that say what it is held to, such as `{"gate.noise_floor": 0}`."""
    sections = nested(dict(overrides))
    own = {f"{section}.{name}": value for section in _JUDGING for name, value in sections.get(section, {}).items()}
    return dict(sorted(own.items()))


def judge(
    evidence: Sequence[Evidence],
    skipped: Mapping[str, str],
    params: GateParams,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Json:
    """The verdict over all domains.

    Args:
        evidence: Of each domain that can be judged.
        skipped: Domain -> why it was not trained.
        params: Section `gate`.
        failed: Domain -> why one of its steps failed in this run.

    Returns:
        `status`, `thresholds`, and for each of `domains`: `status`, `basis`, `champion`, `keys` with their findings,
        `reasons`, `words`, `budgets` of the trial, `figures` (flat) and `splits`. The run passes when at least one
        domain was judged, every judged domain passes, and no domain failed.

    Raises:
        ArtifactError: What the gate must read is missing, was edited, or is of another run; or a domain occurs twice.
    """
    unjudged = {name: _unjudged(SKIPPED, f"the domain was not trained: {reason}") for name, reason in skipped.items()}
    broken = {name: _unjudged(FAILED, reason) for name, reason in failed.items()}
    names = [*(each.domain for each in evidence), *unjudged, *broken]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"domains that the gate got twice: {', '.join(twice)}")
    domains = {each.domain: _judge_domain(each, params) for each in evidence} | unjudged | broken
    statuses = {content["status"] for content in domains.values()} - {SKIPPED}
    return {
        "status": PASS if statuses == {PASS} else FAIL,
        "thresholds": params.model_dump(mode="json"),
        "domains": dict(sorted(domains.items())),
    }


def basis_of(champion: Champion, absolute: bool = False) -> str:
    """What a candidate is compared with, as a phrase; `absolute` as in `judged_by`."""
    if champion.status == NONE:
        return FIRST
    if champion.status == READY:
        return f"champion {champion.label}"
    return f"champion {champion.label} cannot be compared: {'absolute thresholds' if absolute else 'refused'}"


def _judge_domain(evidence: Evidence, params: GateParams) -> Json:
    evidence.verify()
    champion = evidence.champion
    splits, quality = _quality(evidence, params)
    served = served_as_exported(evidence.domain, evidence.servability, evidence.parity, CHECKS[SAMPLER])
    absolute = champion.status == OTHER_SPACE and params.incomparable == "absolute"
    return judged_by(champion, {QUALITY: quality, SERVABILITY: served}, absolute) | {
        "budgets": evidence.servability["budgets"],
        "figures": _headline(splits) | {"parity difference": evidence.parity["greatest_difference"]},
        "splits": {name: figures.as_json() for name, figures in splits.items()},
    }


def judged_by(champion: Champion, keys: Mapping[str, Sequence[Finding]], absolute: bool = False) -> Json:
    """The part of a verdict that follows from the findings of each key.

    Args:
        champion: That was compared with.
        keys: Key -> its findings.
        absolute: Whether absolute thresholds replace a champion that cannot be compared.

    Returns:
        `status`, `basis`, `champion`, `keys`, `reasons` and `words`.
    """
    findings = [finding for key in keys.values() for finding in key]
    failed = [finding.sentence for finding in findings if finding.holds is False]
    reasons = failed or [finding.sentence for finding in findings]
    return {
        "status": FAIL if failed else PASS,
        "basis": basis_of(champion, absolute),
        "champion": None if champion.status == NONE else champion.facts,
        "keys": {
            name: {
                "holds": all(each.holds is not False for each in key),
                "findings": [asdict(each) for each in key],
            }
            for name, key in keys.items()
        },
        "reasons": reasons,
        "words": f"not promoted: {'; '.join(failed)}" if failed else f"may be promoted: {'; '.join(reasons[:2])}",
    }


def _unjudged(status: str, text: str) -> Json:
    empty: Json = {name: {} for name in ("keys", "budgets", "figures", "splits")}
    return {"status": status, "basis": None, "champion": None, "reasons": [text], "words": text} | empty


def _quality(evidence: Evidence, params: GateParams) -> tuple[dict[str, SplitFigures], list[Finding]]:
    champion, splits = evidence.champion, dict[str, SplitFigures]()
    findings = _comparable(champion, params)
    label = f"champion {champion.label}" if champion.status == READY else None
    for split in HOLDOUTS:
        result = evidence.measured["splits"].get(split)
        if result is None:
            raise ArtifactError(
                f"evaluation.json, domain {evidence.domain}: no split {split}, which the gate must read"
            )
        if not result["cases"]:
            findings.append(nothing_judged(split, result["reason"]))
            continue
        splits[split] = read_figures(evidence.domain, split, result, champion.status == READY)
        findings += split_findings(split, splits[split], params, label)
    return splits, [*findings, *enough_patterns(findings)]


def _comparable(champion: Champion, params: GateParams) -> list[Finding]:
    """Whether the champion can be judged, and whether the candidate has its items; nothing without a champion."""
    if champion.status == NONE:
        return []
    if champion.status == READY:
        return [kept_items(champion, params.lost_items)]
    return [not_comparable(champion, champion.status == OTHER_SPACE and params.incomparable == "absolute")]


def kept_items(champion: Champion, allowed: float) -> Finding:
    """Whether the candidate's catalogue has the items of a champion that can be judged, but for a share.

    Raises:
        ArtifactError: `champion.json` has no such share.
    """
    lost = champion.lost_items
    if lost is None or not 0 <= lost <= 1:
        raise ArtifactError(f"champion.json of {champion.label}: lost_items is {lost}; allowed: 0 to 1")
    return items_kept(lost, allowed, f"champion {champion.label}")


def not_comparable(champion: Champion, holds: bool = False) -> Finding:
    """The finding on a champion that cannot be judged."""
    sentence = f"champion {champion.label} cannot be judged on today's cases: {champion.reason}"
    return Finding("comparable", holds, sentence)


def served_as_exported(domain: str, servability: Json, parity: Json, wanted: Sequence[str]) -> list[Finding]:
    """The findings of the servability key.

    Args:
        domain: Whose they are.
        servability: `servability.json`.
        parity: `parity.json`.
        wanted: Names of the checks that must have been made.

    Raises:
        ArtifactError: One was not made, or a file says what it cannot say.
    """
    checks = servability["checks"]
    found = [parse_document(check, Check, f"servability.json, domain {domain}: {check}") for check in checks]
    if found and found[0].name == LOADS and not found[0].holds:
        wanted = (LOADS,)
    if [each.name for each in found] != list(wanted):
        names = ", ".join(each.name for each in found) or "nothing"
        raise ArtifactError(
            f"servability.json, domain {domain}: checked {names}; the gate must read {', '.join(wanted)}"
        )
    served = [Finding(each.name, each.holds, f"serving: {each.sentence}") for each in found]
    return [*served, _parity(domain, parity)]


def _parity(domain: str, parity: Json) -> Finding:
    difference = parity.get("greatest_difference")
    # The limit is the gate's own: that of the file can be edited with it.
    if not isinstance(difference, float) or not 0 <= difference <= 1:
        raise ArtifactError(f"parity.json, domain {domain}: greatest_difference is {difference!r}; allowed: 0 to 1")
    holds = parity.get("status") == "passed" and difference <= TOLERANCE
    verb = "answers as torch does" if holds else "does not answer as torch does"
    sentence = f"serving: the file {verb}: greatest difference {difference:.1e}, allowed {TOLERANCE:.0e}"
    return Finding("parity", holds, sentence, {"difference": difference, "tolerance": TOLERANCE})


def _headline(splits: Mapping[str, SplitFigures]) -> dict[str, float]:
    """The main figures, flat, for tables and tags."""
    figures: dict[str, float] = {}
    for split, found in splits.items():
        figures[f"{split} Joint@K"] = found.rows[SERVED].joint
        figures[f"{split} gain over average"] = found.comparisons[SERVED_AGAINST_AVERAGE].joint.mean
        if found.champion:
            figures[f"{split} gain over champion"] = found.comparisons[AGAINST_CHAMPION].joint.mean
        figures[f"{split} Same@K"] = found.rows[SERVED].same
    return figures
