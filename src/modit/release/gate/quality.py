"""The quality key: whether the candidate is better than what answers today, and no slice loses (docs: the gate).

A finding with too few patterns to resample can neither hold nor fail: it is listed, and does not decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from modit.data.splits import Split
from modit.evaluate.bootstrap import MINIMUM_PATTERNS, TOO_FEW
from modit.evaluate.names import (
    AGAINST_CHAMPION,
    AGAINST_CLASSICAL,
    AGAINST_SFT,
    AGAINST_TWO_STAGE,
    SERVED,
    SERVED_AGAINST_AVERAGE,
    SFT,
)
from modit.evaluate.seeds.slices import SLICES
from modit.release.gate.figures import Difference, SliceFigures, SplitFigures
from modit.release.params import GateParams

GAIN, AVERAGE_GAIN = "gain over the champion", "gain over average pooling"
CLASSICAL, TWO_STAGE = "best classical row", "best two-stage row"
SAME, FLOOR, CASES, SLICE = "Same@K of the champion", "Same@K", "cases", "slice"
ITEMS, PATTERNS = "items of the champion", "patterns"


@dataclass(frozen=True)
class Finding:
    """One condition of the gate: its name with the split in front, a sentence, and the numbers that it rests on.

    Whether it holds is None where there are too few patterns to tell.
    """

    name: str
    holds: bool | None
    sentence: str
    numbers: dict[str, float | None] = field(default_factory=dict)


def nothing_judged(split: str, reason: str) -> Finding:
    """The finding on a split that has no case."""
    return Finding(f"{split} {CASES}", False, f"on {_words(split)} nothing was judged: {reason}", {"cases": 0})


def items_kept(lost: float, allowed: float, champion: str) -> Finding:
    """The finding on items that callers find today and would no longer find: the share `lost` of the champion's."""
    subject = f"{100 * lost:.1f} % of the items of {champion} are not in the candidate's catalogue"
    sentence = f"{subject}; at most {100 * allowed:.1f} % may go"
    return Finding(ITEMS, lost <= allowed, sentence, {"lost": lost, "allowed": allowed})


def enough_patterns(findings: Sequence[Finding]) -> list[Finding]:
    """A failed finding where no split has enough patterns for the required comparison; else nothing."""
    required = [each for each in findings if each.name.endswith((GAIN, AVERAGE_GAIN))]
    if not required or any(each.holds is not None for each in required):
        return []
    most = max(int(each.numbers["patterns"] or 0) for each in required)
    sentence = (
        f"{TOO_FEW} in every split: {most} patterns at most, at least {MINIMUM_PATTERNS} are needed "
        "(a higher assign_patterns.minimum, or a lower minimum_held_out or positives_per_pattern, yields more)"
    )
    return [Finding(PATTERNS, False, sentence, {"patterns": most, "needed": MINIMUM_PATTERNS})]


def split_findings(split: str, figures: SplitFigures, params: GateParams, champion: str | None) -> list[Finding]:
    """The conditions on one split; `champion` is its name, or None for a first run, judged by absolute thresholds."""
    found = _against_champion(split, figures, params, champion) if champion else _absolute(split, figures)
    floor = params.item_same_floor if split == Split.ITEM_HOLDOUT else params.pattern_same_floor
    # Of the lists that are served: where the second stage is off, this row is HPPO.
    same, words = figures.rows[SERVED].same, _words(split)
    findings = [
        *found,
        Finding(
            f"{split} {FLOOR}",
            same >= floor,
            f"on {words} Same of the served lists is {100 * same:.1f} %, the floor {100 * floor:.1f} %",
        ),
        Finding(
            f"{split} {CASES}",
            figures.cases >= params.minimum_cases,
            f"on {words} {figures.cases} cases were judged, at least {params.minimum_cases} are needed",
            {"cases": figures.cases, "needed": params.minimum_cases},
        ),
    ]
    if split in params.classical_splits:
        other = f"the best classical row ({figures.best_classical.test})"
        findings.append(not_below(f"{split} {CLASSICAL}", words, figures.comparisons[AGAINST_CLASSICAL].joint, other))
        other = f"the best two-stage row ({figures.best_classical.two_stage})"
        difference = figures.comparisons[AGAINST_TWO_STAGE].joint
        findings.append(not_below(f"{split} {TWO_STAGE}", words, difference, other, "its reranked list"))
    return findings


def _against_champion(split: str, figures: SplitFigures, params: GateParams, champion: str) -> Iterator[Finding]:
    words, compared = _words(split), figures.comparisons[AGAINST_CHAMPION]
    gain, same, tolerance = compared.joint, compared.same, params.same_tolerance
    if params.champion_rule == "no_loss":
        yield no_loss(f"{split} {GAIN}", f"on {words} the change from {champion}", gain, params.noise_floor)
    elif split in params.gain_splits:
        yield gained(f"{split} {GAIN}", f"on {words} the gain over {champion}", gain, params.noise_floor)
    else:
        yield not_below(f"{split} {GAIN}", words, gain, champion)
    holds = None if same.low is None else same.low >= -tolerance
    limit = f"the interval may not reach below {-100 * tolerance:.1f}"
    sentence = f"on {words} Same changes by {same.points}; {limit}"
    yield Finding(f"{split} {SAME}", holds, sentence, _numbers(same, tolerance=tolerance))
    for each in (figures.slices[name] for name in SLICES):
        if each.difference and each.cases >= params.minimum_slice_cases:
            yield _slice(split, each, each.difference.joint, each.difference.same, params.slice_tolerance)


def _absolute(split: str, figures: SplitFigures) -> Iterator[Finding]:
    words, gain = _words(split), figures.comparisons[SERVED_AGAINST_AVERAGE].joint
    yield gained(f"{split} {AVERAGE_GAIN}", f"on {words} the gain over averaging the seeds", gain, 0.0)
    yield not_below(f"{split} {SFT}", words, figures.comparisons[AGAINST_SFT].joint, SFT)


def gained(name: str, subject: str, gain: Difference, noise_floor: float) -> Finding:
    """The finding on a gain that must be clear: an interval above 0, and a mean above the noise floor."""
    holds = None if gain.low is None else gain.low > 0 and gain.mean > noise_floor
    needed = f"; needed: more than {100 * noise_floor:.1f}, and an interval above 0" if holds is False else ""
    return Finding(name, holds, f"{subject} is {gain.points}{needed}", _numbers(gain, noise_floor=noise_floor))


def no_loss(name: str, subject: str, change: Difference, noise_floor: float) -> Finding:
    """The finding on a change whose interval may not reach further below 0 than a margin."""
    holds = None if change.low is None else change.low >= -noise_floor
    needed = f"; needed: an interval not below {-100 * noise_floor:.1f}" if holds is False else ""
    return Finding(name, holds, f"{subject} is {change.points}{needed}", _numbers(change, noise_floor=noise_floor))


def not_below(name: str, words: str, difference: Difference, other: str, subject: str = "it") -> Finding:
    """The finding on a difference to another row that must not be clearly below 0; `words` say on which cases."""
    holds = None if difference.high is None else difference.high >= 0
    verb = {None: "cannot be compared with", True: "is not below", False: "is significantly below"}[holds]
    return Finding(name, holds, f"on {words} {subject} {verb} {other}: {difference.points}", _numbers(difference))


def _slice(split: str, found: SliceFigures, joint: Difference, same: Difference, tolerance: float) -> Finding:
    subject = f"on {_words(split)}, {found.name} ({found.cases} cases)"
    numbers = _numbers(joint, same_high=same.high, tolerance=tolerance)
    name = f"{split} {SLICE} {found.name}"
    if joint.high is None or same.high is None:
        return Finding(name, None, f"{subject}: {TOO_FEW} ({joint.patterns})", numbers)
    lost = [f"{what} {d.points}" for what, d in (("Joint", joint), ("Same", same)) if (d.high or 0.0) < -tolerance]
    sentence = f"{subject} loses nothing: Joint {joint.points}; Same {same.points}"
    if lost:
        sentence = f"{subject} loses: {'; '.join(lost)}; the interval may not lie below {-100 * tolerance:.1f}"
    return Finding(name, not lost, sentence, numbers)


def _words(split: str) -> str:
    return split.replace("_", "-")


def _numbers(difference: Difference, **others: float | None) -> dict[str, float | None]:
    return {**difference.model_dump(), **others}
