"""The quality key: is the candidate better than what answers today, and does nobody lose by it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from modit.release.gate.figures import (
    AGAINST_AVERAGE,
    AGAINST_CHAMPION,
    AGAINST_CLASSICAL,
    AGAINST_SFT,
    Difference,
    SliceFigures,
    SplitFigures,
)
from modit.release.params import GateParams

GAIN, AVERAGE_GAIN, SFT, CLASSICAL = (
    "gain over the champion",
    "gain over average pooling",
    "MO-DiT",
    "best classical row",
)
SAME, FLOOR, CASES, SLICE = "Same@K of the champion", "Same@K", "cases", "slice"
ITEMS = "items of the champion"
WORDS = {"item_holdout": "item-holdout", "pattern_holdout": "pattern-holdout"}


@dataclass(frozen=True)
class Finding:
    """One condition of the gate.

    Attributes:
        name: what it is about, with the split in front.
        holds: whether it does.
        sentence: in plain words, with its numbers.
        numbers: what it rests on.
    """

    name: str
    holds: bool
    sentence: str
    numbers: dict[str, float | None] = field(default_factory=dict)


def nothing_judged(split: str, reason: str) -> Finding:
    """The finding on a split that has no case."""
    return Finding(f"{split} {CASES}", False, f"on {WORDS[split]} nothing was judged: {reason}", {"cases": 0})


def items_kept(lost: float, params: GateParams, champion: str) -> Finding:
    """The finding on items that callers find today and would not find any more.

    Args:
        lost: share of the champion's items that the candidate's catalogue lacks.
        params: section `gate`.
        champion: how to name it.
    """
    allowed = params.lost_items
    subject = f"{100 * lost:.1f} % of the items of {champion} are not in the candidate's catalogue"
    sentence = f"{subject}; at most {100 * allowed:.1f} % may go"
    return Finding(ITEMS, lost <= allowed, sentence, {"lost": lost, "allowed": allowed})


def split_findings(split: str, figures: SplitFigures, params: GateParams, champion: str | None) -> list[Finding]:
    """The conditions on one split.

    Args:
        split: its name.
        figures: of the report.
        params: section `gate`.
        champion: how to name it; None for a first run, which is held to absolute thresholds.
    """
    found = _against_champion(split, figures, params, champion) if champion else _absolute(split, figures)
    floor = params.item_same_floor if split == "item_holdout" else params.pattern_same_floor
    same, words = figures.same["hppo"], WORDS[split]
    findings = [
        *found,
        Finding(
            f"{split} {FLOOR}", same >= floor, f"on {words} Same is {100 * same:.1f} %, the floor {100 * floor:.1f} %"
        ),
        Finding(
            f"{split} {CASES}",
            figures.cases >= params.minimum_cases,
            f"on {words} {figures.cases} cases were judged, at least {params.minimum_cases} are needed",
            {"cases": figures.cases, "needed": params.minimum_cases},
        ),
    ]
    if split in params.classical_splits:
        other = f"the best classical row ({figures.best_classical})"
        findings.append(_not_below(f"{split} {CLASSICAL}", words, figures.differences[AGAINST_CLASSICAL], other))
    return findings


def _against_champion(split: str, figures: SplitFigures, params: GateParams, champion: str) -> Iterator[Finding]:
    words, gain, same = WORDS[split], figures.differences[AGAINST_CHAMPION], figures.same_difference
    if params.champion_rule == "no_loss":
        yield _no_loss(f"{split} {GAIN}", f"on {words} the change from {champion}", gain, params.noise_floor)
    elif split in params.gain_splits:
        yield _gain(f"{split} {GAIN}", f"on {words} the gain over {champion}", gain, params.noise_floor)
    else:
        yield _not_below(f"{split} {GAIN}", words, gain, champion)
    if same is not None:
        tolerance = params.same_tolerance
        limit = f"the interval may not reach below {-100 * tolerance:.1f}"
        sentence = f"on {words} Same changes by {same.points}; {limit}"
        yield Finding(f"{split} {SAME}", same.low >= -tolerance, sentence, _numbers(same, tolerance=tolerance))
    for name, each in figures.slices.items():
        if each.joint and each.same and each.cases >= params.minimum_slice_cases:
            yield _slice(split, name, each, each.joint, each.same, params.slice_tolerance)


def _absolute(split: str, figures: SplitFigures) -> Iterator[Finding]:
    words, gain = WORDS[split], figures.differences[AGAINST_AVERAGE]
    yield _gain(f"{split} {AVERAGE_GAIN}", f"on {words} the gain over averaging the seeds", gain, 0.0)
    yield _not_below(f"{split} {SFT}", words, figures.differences[AGAINST_SFT], SFT)


def _gain(name: str, subject: str, gain: Difference, noise_floor: float) -> Finding:
    holds = gain.low > 0 and gain.mean > noise_floor
    needed = "" if holds else f"; needed: more than {100 * noise_floor:.1f}, and an interval above 0"
    return Finding(name, holds, f"{subject} is {gain.points}{needed}", _numbers(gain, noise_floor=noise_floor))


def _no_loss(name: str, subject: str, change: Difference, noise_floor: float) -> Finding:
    holds = change.low >= -noise_floor
    needed = "" if holds else f"; needed: an interval not below {-100 * noise_floor:.1f}"
    return Finding(name, holds, f"{subject} is {change.points}{needed}", _numbers(change, noise_floor=noise_floor))


def _not_below(name: str, words: str, difference: Difference, other: str) -> Finding:
    holds = difference.high >= 0
    verb = "is not below" if holds else "is significantly below"
    return Finding(name, holds, f"on {words} it {verb} {other}: {difference.points}", _numbers(difference))


def _slice(
    split: str, name: str, found: SliceFigures, joint: Difference, same: Difference, tolerance: float
) -> Finding:
    lost = [f"{what} {each.points}" for what, each in (("Joint", joint), ("Same", same)) if each.high < -tolerance]
    subject = f"on {WORDS[split]}, {name} ({found.cases} cases)"
    sentence = f"{subject} loses nothing: Joint {joint.points}; Same {same.points}"
    if lost:
        sentence = f"{subject} loses: {'; '.join(lost)}; the interval may not lie below {-100 * tolerance:.1f}"
    numbers = _numbers(joint, same_high=same.high, tolerance=tolerance)
    return Finding(f"{split} {SLICE} {name}", not lost, sentence, numbers)


def _numbers(difference: Difference, **others: float) -> dict[str, float | None]:
    return {**difference._asdict(), **others}
