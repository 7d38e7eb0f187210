"""The gate on a retriever of the next item, by Recall@10 of the last items of sessions."""

from __future__ import annotations

from collections.abc import Iterator

from modit.core.names import NEXT_ITEM
from modit.evaluate.names import CHAMPION
from modit.evaluate.next_item.names import ITEM_KNN, POPULARITY, SERVED
from modit.evaluate.next_item.task import SLICES
from modit.release.gate.champion import NONE, READY
from modit.release.gate.judged_once import Judgement, Rules
from modit.release.gate.quality import Finding, gained, not_below

_WORDS, _FIGURE = "the last items", "Recall@10"


def _findings(found: Judgement) -> Iterator[Finding]:
    first, invented = found.champion.status == NONE, found.served.hallucination
    sentence = f"{100 * (invented or 0.0):.2f} % of the generated IDs are of no item; allowed: none"
    yield Finding("hallucination", invented == 0, sentence if invented is not None else "no ID was generated")
    if first:
        subject = f"on {_WORDS} the gain in {_FIGURE} over {POPULARITY}"
        yield gained("gain over popularity", subject, found.difference(POPULARITY), 0.0)
    for other in RULES.simple[first:]:
        yield not_below(other, _WORDS, found.difference(other), other, _FIGURE)
    if found.champion.status == READY:
        label = f"champion {found.champion.label}"
        yield not_below("champion", _WORDS, found.difference(CHAMPION), label, _FIGURE)


RULES = Rules(
    name=NEXT_ITEM,
    served=SERVED,
    simple=(POPULARITY, ITEM_KNN),
    figures=("recall_at_10",),
    slices=tuple(SLICES),
    cases=("sessions", "users"),
    sliced="sessions whose next item is",
    findings=_findings,
)
