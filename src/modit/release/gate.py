"""The gate: reads the report and the parity tables, and says of each domain whether its sampler may go on.

It measures nothing: every figure in a verdict was written by the step that measured it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modit.core.errors import ArtifactError
from modit.core.sections import GateParams

Json = dict[str, Any]

PASS, FAIL, SKIPPED = "PASS", "FAIL", "SKIPPED"
SPLITS = ("item_holdout", "pattern_holdout")
BASIS = "no champion yet: judged against absolute thresholds"
POLICY, AVERAGE = "HPPO", "Average pooling"
AGAINST_AVERAGE, AGAINST_SFT, AGAINST_CLASSICAL = "HPPO - Average pooling", "HPPO - MO-DiT", "HPPO - best classical"


class Finding(NamedTuple):
    """One condition of the gate: whether it holds, and a sentence with its numbers."""

    holds: bool
    sentence: str


@dataclass(frozen=True)
class SplitFigures:
    """What the gate looks at in one split of one domain.

    Attributes:
        cases: judged.
        joint: mean Joint@K of HPPO, of average pooling and of the best classical row, in [0, 1].
        same: mean Same@K of HPPO, in [0, 1].
        best_classical: name of that row.
        differences: comparison -> mean, low, high of the paired difference in Joint@K.
    """

    cases: int
    joint: dict[str, float]
    same: float
    best_classical: str
    differences: dict[str, dict[str, float]]


def judge(report: Json, parity: Mapping[str, Json], params: GateParams) -> Json:
    """The verdict over all domains.

    Args:
        report: content of `report.json`.
        parity: domain -> content of its `parity.json`.
        params: section `gate`.

    Returns:
        `status`, `basis`, `thresholds`, and `domains` with `status`, `reasons`, `figures` (flat) and `splits` each.
        The run passes when at least one domain was judged and every judged domain passes.

    Raises:
        ArtifactError: the report lacks a field that the gate must read.
    """
    domains = {name: _judge_domain(name, content, parity, params) for name, content in report["domains"].items()}
    for name, reason in report["run"]["skipped_domains"].items():
        domains[name] = {
            "status": SKIPPED,
            "reasons": [f"The domain was not trained: {reason}."],
            "figures": {},
            "splits": {},
        }
    judged = [content["status"] for content in domains.values() if content["status"] != SKIPPED]
    return {
        "status": PASS if judged and all(status == PASS for status in judged) else FAIL,
        "basis": BASIS,
        "thresholds": params.model_dump(mode="json"),
        "domains": dict(sorted(domains.items())),
    }


def _judge_domain(domain: str, content: Json, parity: Mapping[str, Json], params: GateParams) -> Json:
    findings, splits = [], {}
    for split in SPLITS:
        result = content["splits"][split]
        if not result["cases"]:
            findings.append(Finding(False, f"{split}: nothing was judged: {result['reason']}."))
            continue
        read = read_figures(domain, split, result, params.interval)
        splits[split] = vars(read)
        findings += split_findings(split, read, params)
    found = parity.get(domain)
    findings.append(_parity_finding(found))
    failed = [finding.sentence for finding in findings if not finding.holds]
    reasons = failed or [finding.sentence for finding in findings]
    figures = _headline(splits) | ({"parity difference": found["greatest_difference"]} if found else {})
    return {"status": FAIL if failed else PASS, "reasons": reasons, "figures": figures, "splits": splits}


def _headline(splits: dict[str, Json]) -> dict[str, float]:
    """The figures that people ask for first, flat, for tables and tags."""
    return {
        f"{split} {name}": value
        for split, content in splits.items()
        for name, value in (
            ("Joint@K", content["joint"]["hppo"]),
            ("gain over average", content["differences"][AGAINST_AVERAGE]["mean"]),
            ("Same@K", content["same"]),
        )
    }


def read_figures(domain: str, split: str, result: Json, interval: str) -> SplitFigures:
    """Takes the gate's figures out of one split of the report.

    Args:
        domain: for messages.
        split: for messages.
        result: the split's part of the report.
        interval: "cases" or "patterns", over which the intervals were resampled.

    Raises:
        ArtifactError: a row or a comparison is missing.
    """
    prefix = "pattern_" if interval == "patterns" else ""
    try:
        rows = {row["name"]: row for row in result["rows"]}
        compared = {entry["name"]: entry["joint"] for entry in result["comparisons"]}
        best = result["best_classical"]["test"]
        names = {"hppo": POLICY, "average": AVERAGE, "best_classical": best}
        return SplitFigures(
            cases=result["cases"],
            joint={key: rows[name]["joint"] for key, name in names.items()},
            same=rows[POLICY]["same"],
            best_classical=best,
            differences={
                name: {
                    "mean": compared[name]["mean"],
                    "low": compared[name][f"{prefix}low"],
                    "high": compared[name][f"{prefix}high"],
                }
                for name in (AGAINST_AVERAGE, AGAINST_SFT, AGAINST_CLASSICAL)
            },
        )
    except KeyError as error:
        raise ArtifactError(
            f"report.json, domain {domain}, split {split}: no {error}, which the gate must read"
        ) from error


def split_findings(split: str, figures: SplitFigures, params: GateParams) -> list[Finding]:
    """The conditions on one split: enough cases, Joint@K against three rows, Same@K above its floor."""
    floor = params.item_same_floor if split == "item_holdout" else params.pattern_same_floor
    findings = [
        _above(split, AGAINST_AVERAGE, figures),
        _not_below(split, AGAINST_SFT, figures),
    ]
    if split in params.classical_splits:
        findings.append(_not_below(split, AGAINST_CLASSICAL, figures))
    enough = figures.cases >= params.minimum_cases
    return [
        *findings,
        Finding(figures.same >= floor, f"{split}: Same@K of HPPO is {figures.same:.3f}, the floor is {floor:.3f}."),
        Finding(enough, f"{split}: {figures.cases} cases were judged, at least {params.minimum_cases} are needed."),
    ]


def _above(split: str, name: str, figures: SplitFigures) -> Finding:
    holds = figures.differences[name]["low"] > 0
    verb = "is above" if holds else "is not significantly above"
    return Finding(holds, _sentence(split, name, verb, figures))


def _not_below(split: str, name: str, figures: SplitFigures) -> Finding:
    holds = figures.differences[name]["high"] >= 0
    verb = "is not below" if holds else "is significantly below"
    return Finding(holds, _sentence(split, name, verb, figures))


def _sentence(split: str, name: str, verb: str, figures: SplitFigures) -> str:
    other = name.removeprefix("HPPO - ")
    if name == AGAINST_CLASSICAL:
        other = f"the best classical row ({figures.best_classical})"
    value = figures.differences[name]
    return (
        f"{split}: Joint@K of HPPO {verb} {other}: difference {value['mean']:+.3f}, "
        f"95% interval {value['low']:+.3f} to {value['high']:+.3f}."
    )


def _parity_finding(parity: Json | None) -> Finding:
    if parity is None:
        return Finding(False, "The exported sampler has no parity table.")
    difference, tolerance = parity["greatest_difference"], parity["tolerance"]
    holds = parity["status"] == "passed" and difference <= tolerance
    verb = "answers as torch does" if holds else "does not answer as torch does"
    return Finding(
        holds, f"The exported sampler {verb}: greatest difference {difference:.1e}, allowed {tolerance:.0e}."
    )
