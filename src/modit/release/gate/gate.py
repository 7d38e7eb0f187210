"""Thresholds that a run set for itself: who starts a run may override any parameter, those of the gate too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from modit.core.errors import ArtifactError
from modit.core.params import nested
from modit.data.splits import HOLDOUTS
from modit.inference.answers import TOLERANCE
from modit.release.gate.champion import NONE, OTHER_SPACE, READY, Champion
from modit.release.gate.evidence import Evidence, number
from modit.release.gate.figures import AGAINST_AVERAGE, AGAINST_CHAMPION, SplitFigures, read_figures
from modit.release.gate.precision import offer
from modit.release.gate.quality import Finding, items_kept, nothing_judged, split_findings
from modit.release.gate.servability import CHECKS, LOADS, VARIANT_CHECKS, Check
from modit.release.params import GateParams
from modit.release.verdict import FAIL, PASS, SKIPPED

# Sections that say what a candidate must reach.
_JUDGING = ("gate", "servability")


def overridden_thresholds(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's overrides that say what it is held to, such as `{"gate.noise_floor": 0}`, by name.

    Args:
        overrides: of the run, nested or dotted.
    """
    sections = nested(dict(overrides))
    own = {f"{section}.{name}": value for section in _JUDGING for name, value in sections.get(section, {}).items()}
    return dict(sorted(own.items()))


Json = dict[str, Any]

QUALITY, SERVABILITY = "quality", "servability"
FIRST = "no champion: absolute thresholds"


def judge(evidence: Sequence[Evidence], skipped: Mapping[str, str], params: GateParams) -> Json:
    """The verdict over all domains.

    Args:
        evidence: of each trained domain.
        skipped: domain -> why it was not trained.
        params: section `gate`.

    Returns:
        `status`, `thresholds`, and for each of `domains`: `status`, `basis`, `champion`, `keys` with their findings,
        `reasons`, `words`, `precisions` (whether files beside float32 are offered), `budgets` of the trial, `figures`
        (flat) and `splits`. The run passes when at least one domain was judged and every judged domain passes.

    Raises:
        ArtifactError: what the gate must read is missing, was edited, or is of another run; or a domain stands twice.
    """
    names = [*(each.domain for each in evidence), *skipped]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"domains that the gate got twice: {', '.join(twice)}")
    domains = {each.domain: _judge_domain(each, params) for each in evidence}
    domains |= {name: _skipped(reason) for name, reason in skipped.items()}
    judged = [content["status"] for content in domains.values() if content["status"] != SKIPPED]
    return {
        "status": PASS if judged and all(status == PASS for status in judged) else FAIL,
        "thresholds": params.model_dump(mode="json"),
        "domains": dict(sorted(domains.items())),
    }


def basis_of(champion: Champion, params: GateParams) -> str:
    """What a candidate is judged against, in words."""
    if champion.status == NONE:
        return FIRST
    if champion.status == READY:
        return f"champion {champion.label}"
    if champion.status == OTHER_SPACE and params.incomparable == "absolute":
        return f"champion {champion.label} cannot be compared: absolute thresholds"
    return f"champion {champion.label} cannot be compared: refused"


def _judge_domain(evidence: Evidence, params: GateParams) -> Json:
    evidence.verify()
    champion = evidence.champion
    splits, quality = _quality(evidence, params)
    keys = {QUALITY: quality, SERVABILITY: _servability(evidence)}
    findings = [finding for key in keys.values() for finding in key]
    failed = [finding.sentence for finding in findings if not finding.holds]
    reasons = failed or [finding.sentence for finding in findings]
    return {
        "status": FAIL if failed else PASS,
        "basis": basis_of(champion, params),
        "champion": None if champion.status == NONE else champion.facts,
        "keys": {
            name: {"holds": all(each.holds for each in key), "findings": [asdict(each) for each in key]}
            for name, key in keys.items()
        },
        "reasons": reasons,
        "words": f"not promoted: {'; '.join(failed)}" if failed else f"may be promoted: {'; '.join(reasons[:2])}",
        "precisions": {name: _offer(name, evidence, params) for name in evidence.variants},
        "budgets": evidence.servability["budgets"],
        "figures": _headline(splits) | {"parity difference": evidence.parity["greatest_difference"]},
        "splits": {name: _as_json(figures) for name, figures in splits.items()},
    }


def _skipped(reason: str) -> Json:
    text = f"the domain was not trained: {reason}"
    empty: Json = {name: {} for name in ("keys", "precisions", "budgets", "figures", "splits")}
    return {"status": SKIPPED, "basis": None, "champion": None, "reasons": [text], "words": text} | empty


def _quality(evidence: Evidence, params: GateParams) -> tuple[dict[str, SplitFigures], list[Finding]]:
    champion, splits = evidence.champion, {}
    findings = _comparable(champion, params)
    label = f"champion {champion.label}" if champion.status == READY else None
    for split in HOLDOUTS:
        result = evidence.content["splits"].get(split)
        if result is None:
            raise ArtifactError(f"report.json, domain {evidence.domain}: no split {split}, which the gate must read")
        if not result["cases"]:
            findings.append(nothing_judged(split, result["reason"]))
            continue
        splits[split] = read_figures(evidence.domain, split, result, params.interval, champion.status == READY)
        findings += split_findings(split, splits[split], params, label)
    return splits, findings


def _comparable(champion: Champion, params: GateParams) -> list[Finding]:
    """Whether the champion can be judged, and whether the candidate has its items; nothing where there is none."""
    if champion.status == NONE:
        return []
    if champion.status == READY:
        lost = number(champion.lost_items, f"champion.json of {champion.label}, lost_items", low=0, high=1)
        return [items_kept(lost, params, f"champion {champion.label}")]
    holds = champion.status == OTHER_SPACE and params.incomparable == "absolute"
    return [
        Finding("comparable", holds, f"champion {champion.label} cannot be judged on today's cases: {champion.reason}")
    ]


def _offer(precision: str, evidence: Evidence, params: GateParams) -> Json:
    """The status does not depend on it: float32 is there for whoever is not offered this."""
    served = _checks(evidence.domain, evidence.servability["precisions"][precision], VARIANT_CHECKS)
    return offer(precision, evidence.domain, evidence.content["splits"], served, params)


def _servability(evidence: Evidence) -> list[Finding]:
    return [*_checks(evidence.domain, evidence.servability["checks"], CHECKS), _parity(evidence)]


def _checks(domain: str, checks: Sequence[Json], needed: Sequence[str]) -> list[Finding]:
    found = [_check(domain, check) for check in checks]
    wanted = [LOADS] if found and found[0].name == LOADS and not found[0].holds else list(needed)
    if [each.name for each in found] != wanted:
        names = ", ".join(each.name for each in found) or "nothing"
        raise ArtifactError(
            f"servability.json, domain {domain}: checked {names}; the gate must read {', '.join(wanted)}"
        )
    return found


def _check(domain: str, check: Json) -> Finding:
    if set(check) != set(Check.__dataclass_fields__) or not isinstance(check["holds"], bool):
        raise ArtifactError(f"servability.json, domain {domain}: {check} is no check with name, holds and sentence")
    return Finding(check["name"], check["holds"], f"serving: {check['sentence']}")


def _parity(evidence: Evidence) -> Finding:
    parity, what = evidence.parity, f"parity.json, domain {evidence.domain}, greatest_difference"
    # The limit is the gate's own: that of the file can be edited with it.
    difference, tolerance = number(parity.get("greatest_difference"), what, low=0), TOLERANCE
    holds = parity.get("status") == "passed" and difference <= tolerance
    verb = "answers as torch does" if holds else "does not answer as torch does"
    sentence = f"serving: the file {verb}: greatest difference {difference:.1e}, allowed {tolerance:.0e}"
    return Finding("parity", holds, sentence, {"difference": difference, "tolerance": tolerance})


def _headline(splits: Mapping[str, SplitFigures]) -> dict[str, float]:
    """The figures that people ask for first, flat, for tables and tags."""
    figures: dict[str, float] = {}
    for split, found in splits.items():
        figures[f"{split} Joint@K"] = found.joint["hppo"]
        figures[f"{split} gain over average"] = found.differences[AGAINST_AVERAGE].mean
        if AGAINST_CHAMPION in found.differences:
            figures[f"{split} gain over champion"] = found.differences[AGAINST_CHAMPION].mean
        figures[f"{split} Same@K"] = found.same["hppo"]
    return figures


def _as_json(figures: SplitFigures) -> Json:
    def plain(value: Any) -> Any:
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return value._asdict()
        if isinstance(value, Mapping):
            return {name: plain(each) for name, each in value.items()}
        return plain(vars(value)) if hasattr(value, "__dataclass_fields__") else value

    return plain(figures)
