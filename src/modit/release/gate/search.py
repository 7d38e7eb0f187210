"""The gate on a retriever by text: below BM25 by no more than a margin in either figure, and clearly above in one."""

from __future__ import annotations

from collections.abc import Iterator

from modit.core.names import SEARCH
from modit.evaluate.names import CHAMPION
from modit.evaluate.search.names import BM25, FUSED
from modit.evaluate.search.task import SLICES
from modit.release.gate.champion import READY
from modit.release.gate.judged_once import Judgement, Rules
from modit.release.gate.quality import Finding, no_loss, not_below
from modit.release.verdict import FIGURES


def _findings(found: Judgement) -> Iterator[Finding]:
    yield from _no_worse(found, BM25, BM25)
    gains = {figure: found.difference(BM25, figure) for figure in _margins(found)}
    known = all(each.low is not None for each in gains.values())
    holds = any(each.low is not None and each.low > 0 for each in gains.values()) if known else None
    points = ", ".join(f"{FIGURES[figure]} {gain.points}" for figure, gain in gains.items())
    needed = "; needed: an interval above 0 in one of them" if holds is False else ""
    yield Finding("gain over BM25", holds, f"the gains over {BM25} are {points}{needed}")
    if found.champion.status == READY:
        yield from _no_worse(found, CHAMPION, f"champion {found.champion.label}")


def _no_worse(found: Judgement, other: str, label: str) -> Iterator[Finding]:
    for figure, margin in _margins(found).items():
        subject = f"the change in {FIGURES[figure]} from {label}"
        yield no_loss(f"{FIGURES[figure]} of {other}", subject, found.difference(other, figure), margin)
    # of few relevant items one place decides: the interval is too wide for a margin
    first_ten = found.difference(other, "recall_at_10")
    yield not_below(f"Recall@10 of {other}", "the test queries", first_ten, label, "Recall@10")


def _margins(found: Judgement) -> dict[str, float]:
    return {"ndcg_at_10": found.params.ndcg_margin, "recall_at_100": found.params.recall_margin}


RULES = Rules(
    name=SEARCH,
    served=FUSED,
    simple=(BM25,),
    figures=("ndcg_at_10", "recall_at_10", "recall_at_100"),
    slices=tuple(SLICES),
    cases=("queries", "queries"),
    sliced="queries that are",
    findings=_findings,
)
