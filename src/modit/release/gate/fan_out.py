"""The gate on a retriever of sets by intent: no worse than one list by more than a margin, and clearly above in one."""

from __future__ import annotations

from collections.abc import Iterator

from modit.core.names import FAN_OUT
from modit.evaluate.fan_out.names import NO_FAN_OUT, SERVED
from modit.evaluate.fan_out.task import SLICES
from modit.evaluate.names import CHAMPION
from modit.release.gate.champion import READY
from modit.release.gate.judged_once import Judgement, Rules
from modit.release.gate.quality import Finding, no_loss
from modit.release.verdict import FIGURES

_COVERAGE, _DIVERSITY = "coverage", "diversity"


def _findings(found: Judgement) -> Iterator[Finding]:
    yield _covers(found, NO_FAN_OUT, "one list of the intent")
    gains = {figure: found.difference(NO_FAN_OUT, figure) for figure in (_COVERAGE, _DIVERSITY)}
    known = all(each.low is not None for each in gains.values())
    holds = any(each.low is not None and each.low > 0 for each in gains.values()) if known else None
    points = ", ".join(f"{FIGURES[figure]} {gain.points}" for figure, gain in gains.items())
    needed = "; needed: an interval above 0 in one of them" if holds is False else ""
    yield Finding("gain over one list", holds, f"the gains over one list of the intent are {points}{needed}")
    if found.champion.status == READY:
        yield _covers(found, CHAMPION, f"champion {found.champion.label}")


def _covers(found: Judgement, other: str, label: str) -> Finding:
    subject = f"the change in coverage from {label}"
    return no_loss(f"coverage of {other}", subject, found.difference(other, _COVERAGE), found.params.coverage_margin)


RULES = Rules(
    name=FAN_OUT,
    served=SERVED,
    simple=(NO_FAN_OUT,),
    figures=(_COVERAGE, _DIVERSITY),
    slices=tuple(SLICES),
    cases=("intents", "different intents"),
    sliced="intents with",
    findings=_findings,
)
