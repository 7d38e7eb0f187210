"""Whether a file of less precision is offered: what it loses to float32, held against what another seed would move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modit.core.errors import ArtifactError
from modit.data.splits import HOLDOUTS
from modit.release.gate.evidence import number, ordered
from modit.release.gate.figures import POLICY, ROUNDING, Difference
from modit.release.gate.quality import FLOOR, WORDS, Finding
from modit.release.params import GateParams

Json = dict[str, Any]

JOINT = "Joint@K"


def offer(
    precision: str, domain: str, splits: Mapping[str, Json], served: Sequence[Finding], params: GateParams
) -> Json:
    """Whether a domain's sampler may be served in a precision, and why.

    Args:
        precision: of the file.
        domain: whose.
        splits: the domain's part of `report.json`.
        served: findings of the trial of this file.
        params: section `gate`.

    Returns:
        `offered`, `findings`, and `words`, a sentence.

    Raises:
        ArtifactError: figures are missing, or contradict each other.
    """
    findings = [each for split in HOLDOUTS for each in _split_findings(precision, domain, split, splits[split], params)]
    findings += served
    failed = [each.sentence for each in findings if not each.holds]
    reasons = failed or [each.sentence for each in findings if each.name.endswith(JOINT)]
    return {
        "offered": not failed,
        "findings": [vars(each) for each in findings],
        "words": f"{precision} is {'not offered' if failed else 'offered'}: {'; '.join(reasons)}",
    }


def _split_findings(precision: str, domain: str, split: str, result: Json, params: GateParams) -> list[Finding]:
    words = WORDS[split]
    if result["cases"] < params.minimum_cases:
        sentence = f"on {words} {result['cases']} cases were judged, at least {params.minimum_cases} are needed"
        return [Finding(f"{split} cases", False, sentence, {"cases": result["cases"], "needed": params.minimum_cases})]
    place = f"report.json, domain {domain}, split {split}, {precision}"
    joint, same = _differences(precision, result, place, "pattern_" if params.interval == "patterns" else "case_")
    floor, tolerance = params.noise_floor, params.same_tolerance
    lost = f"on {words} Joint changes by {joint.points}; it may fall by less than {100 * floor:.1f}"
    moved = f"on {words} Same changes by {same.points}; it may fall by {100 * tolerance:.1f}"
    return [
        Finding(f"{split} {JOINT}", joint.low > -floor, lost, {**joint._asdict(), "noise_floor": floor}),
        Finding(f"{split} {FLOOR}", same.low >= -tolerance, moved, {**same._asdict(), "tolerance": tolerance}),
    ]


def _differences(precision: str, result: Json, place: str, prefix: str) -> tuple[Difference, Difference]:
    try:
        entry, policy = result["precisions"][precision], next(row for row in result["rows"] if row["name"] == POLICY)
    except (KeyError, StopIteration) as error:
        raise ArtifactError(f"{place}: no figures, though there is such a file") from error
    found = []
    for figure in ("joint", "same"):
        what = f"{place}, {figure}"
        difference = Difference(*ordered(entry["difference"][figure], what, prefix))
        expected = number(entry[figure], what, low=0) - number(policy[figure], f"{what} of {POLICY}", low=0)
        if abs(difference.mean - expected) > ROUNDING:
            raise ArtifactError(f"{what}: the mean difference is {difference.mean}, that of the rows {expected:.6f}")
        found.append(difference)
    return found[0], found[1]
