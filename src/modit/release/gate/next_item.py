"""The gate on a retriever of the next item: the same two keys, on Recall@10 of the last items of sessions.

What it compares is the exported file, as it would be served, with rows that need no training and with the champion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from modit.core.errors import ArtifactError
from modit.core.names import NEXT_ITEM
from modit.data.sessions import SessionPart
from modit.evaluate.bootstrap import MINIMUM_PATTERNS
from modit.evaluate.names import CHAMPION
from modit.evaluate.next_item.names import ITEM_KNN, POPULARITY, SERVED
from modit.evaluate.next_item.task import SLICES
from modit.release.documents import Json
from modit.release.gate.champion import NONE, READY, Champion
from modit.release.gate.figures import ROUNDING, Difference, Figures, Share, by_name
from modit.release.gate.gate import (
    QUALITY,
    SERVABILITY,
    judged_by,
    kept_items,
    not_comparable,
    served_as_exported,
)
from modit.release.gate.quality import Finding, gained, not_below, nothing_judged
from modit.release.gate.servability import CHECKS
from modit.release.kinds import SEMANTIC_IDS
from modit.release.params import NextItemGateParams

# Rows that need no training: a retriever that is below one of them is not worth its training.
SIMPLE = (POPULARITY, ITEM_KNN)
_TEST = SessionPart.TEST.value


class _Row(Figures):
    recall_at_10: Share
    interval: Json = Field(alias="recall_at_10_interval")
    hallucination: Share | None = None


class _Compared(Figures):
    recall_at_10: Difference


class _Comparison(_Compared):
    row: str
    against: str


class _Slice(Figures):
    cases: Annotated[int, Field(ge=0)]
    difference: _Compared | None = None
    reason: str | None = None


class NextItemFigures(Figures):
    """What the gate reads of the test cases.

    Attributes:
        champion: Whether there is a champion to compare with.
        cases: Number of judged cases.
        rows: By name.
        comparisons: Of the served row with each other one, by the other's name.
        slices_against: Name of the row that slices are compared with.
        slices: By name.
    """

    champion: bool
    cases: Annotated[int, Field(ge=1)]
    rows: Annotated[dict[str, _Row], BeforeValidator(partial(by_name, "row"))]
    comparisons: Annotated[dict[str, _Comparison], BeforeValidator(partial(by_name, "comparison"))]
    slices_against: str
    slices: Annotated[dict[str, _Slice], BeforeValidator(partial(by_name, "slice"))]

    @property
    def compared(self) -> tuple[str, ...]:
        """The rows that the served one is compared with."""
        return (*SIMPLE, CHAMPION) if self.champion else SIMPLE

    def difference(self, other: str) -> Difference:
        """The difference of the served row to another one."""
        return self.comparisons[comparison_name(other)].recall_at_10

    @model_validator(mode="after")
    def _expect_all(self) -> NextItemFigures:
        """Whether all is there that the gate must read, and comparisons are those of the rows."""
        pairs = {comparison_name(other): other for other in self.compared}
        needed = (("row", (SERVED, *self.compared), self.rows), ("comparison", pairs, self.comparisons))
        for kind, wanted, there in (*needed, ("slice", SLICES, self.slices)):
            if missing := [name for name in wanted if name not in there]:
                raise ValueError(f"no {kind} {', '.join(missing)}, which the gate must read")
        for name, other in pairs.items():
            found = self.comparisons[name]
            if (found.row, found.against) != (SERVED, other):
                raise ValueError(f"{name} compares {found.row!r} with {found.against!r}")
            expected = self.rows[SERVED].recall_at_10 - self.rows[other].recall_at_10
            if abs(found.recall_at_10.mean - expected) > ROUNDING:
                raise ValueError(
                    f"{name}: the mean difference is {found.recall_at_10.mean}, that of the rows {expected:.6f}"
                )
        if self.champion and self.slices_against != CHAMPION:
            raise ValueError(f"slices are compared with {self.slices_against!r}; allowed here: {CHAMPION!r}")
        if (parts := sum(self.slices[name].cases for name in SLICES)) != self.cases:
            raise ValueError(f"{', '.join(SLICES)} have {parts} cases, the split has {self.cases}")
        return self


def comparison_name(other: str) -> str:
    """The name that `evaluation.json` gives the comparison of the served row with another one."""
    return f"{SERVED} - {other}"


@dataclass(frozen=True)
class NextItemEvidence:
    """What was measured: the contents of the files that the gate reads.

    Attributes:
        measured: `evaluation.json`.
        digests: `retriever_digest` and `index_digest` of the exported candidate.
        champion: As it was fetched.
        servability: `servability.json`.
        parity: `parity.json`.
    """

    measured: Json
    digests: dict[str, str]
    champion: Champion
    servability: Json
    parity: Json

    def verify(self) -> None:
        """Checks that the parts belong together.

        Raises:
            ArtifactError: One of them was edited, or is of another run; it is named.
        """
        pairs: list[tuple[str, Any, str, Any]] = [
            ("evaluation.json: champion", self.measured.get("champion"), "champion.json", self.champion.facts)
        ]
        for file, content in (("evaluation.json", self.measured), ("servability.json", self.servability)):
            pairs += [(f"{file}: {name}", content.get(name), name, digest) for name, digest in self.digests.items()]
        for what, found, other, expected in pairs:
            if found is None or found != expected:
                raise ArtifactError(f"{what} is {found}; the candidate's {other} is {expected}: not of one run")


def judge_next_item(evidence: NextItemEvidence, params: NextItemGateParams) -> Json:
    """The verdict on a retriever of the next item, in the form of every verdict: its domain is `next_item`.

    Args:
        evidence: What was measured.
        params: Section `gate_next_item`.

    Returns:
        `status`, `thresholds`, and of the only one of `domains` what `modit.release.gate.gate.judge` gives, with `rows`
        in the place of splits: name, `recall_at_10`, and its interval `low` and `high` over users.

    Raises:
        ArtifactError: What the gate must read is missing, was edited, or is of another run.
    """
    evidence.verify()
    champion, result = evidence.champion, evidence.measured.get("splits", {}).get(_TEST)
    if result is None:
        raise ArtifactError(f"evaluation.json: no split {_TEST}, which the gate must read")
    figures = _read(result, champion.status == READY) if result["cases"] else None
    quality = list(_quality(figures, champion, params)) if figures else [nothing_judged(_TEST, result["reason"])]
    served = served_as_exported(NEXT_ITEM, evidence.servability, evidence.parity, CHECKS[SEMANTIC_IDS])
    domain = judged_by(champion, {QUALITY: quality, SERVABILITY: served}) | {
        "budgets": evidence.servability["budgets"],
        "figures": _headline(figures) | {"parity difference": evidence.parity["greatest_difference"]},
        "splits": {},
        "rows": _table(figures),
    }
    return {
        "status": domain["status"],
        "thresholds": params.model_dump(mode="json"),
        "domains": {NEXT_ITEM: domain},
    }


def _read(result: Json, champion: bool) -> NextItemFigures:
    try:
        return NextItemFigures.model_validate(result | {"champion": champion})
    except ValidationError as error:
        first = error.errors()[0]
        place = [f"evaluation.json, split {_TEST}", ", ".join(map(str, first["loc"]))]
        message = first["msg"].removeprefix("Value error, ")
        raise ArtifactError(": ".join([*filter(None, place), message])) from error


def _quality(figures: NextItemFigures, champion: Champion, params: NextItemGateParams) -> Iterator[Finding]:
    words, first = "the last items", champion.status == NONE
    cases = f"{figures.cases} sessions were judged, at least {params.minimum_cases} are needed"
    yield Finding("cases", figures.cases >= params.minimum_cases, cases, {"cases": figures.cases})
    if figures.difference(POPULARITY).low is None:
        users = figures.difference(POPULARITY).patterns
        yield Finding("users", False, f"{users} users, at least {MINIMUM_PATTERNS} are needed to resample them")
    invented = figures.rows[SERVED].hallucination
    sentence = f"{100 * (invented or 0.0):.2f} % of the generated IDs are of no item; allowed: none"
    yield Finding("hallucination", invented == 0, sentence if invented is not None else "no ID was generated")
    if first:
        subject = f"on {words} the gain in Recall@10 over {POPULARITY}"
        yield gained("gain over popularity", subject, figures.difference(POPULARITY), 0.0)
    for other in SIMPLE[first:]:
        yield not_below(other, words, figures.difference(other), other, "Recall@10")
    if not first and champion.status != READY:
        yield not_comparable(champion)
    if champion.status == READY:
        label = f"champion {champion.label}"
        yield kept_items(champion, params.lost_items)
        yield not_below("champion", words, figures.difference(CHAMPION), label, "Recall@10")
        for name in SLICES:
            found = figures.slices[name]
            if found.difference and found.cases >= params.minimum_slice_cases:
                yield _slice(name, found.cases, found.difference.recall_at_10, label, params.noise_floor)


def _slice(name: str, cases: int, difference: Difference, champion: str, floor: float) -> Finding:
    holds = None if difference.high is None else difference.high >= -floor
    subject = f"sessions whose next item is {name} ({cases})"
    limit = f"; the interval may not lie below {-100 * floor:.1f}" if holds is False else ""
    verb = "lose" if holds is False else "do not lose"
    sentence = f"{subject} {verb} to {champion}: {difference.points}{limit}"
    return Finding(f"slice {name}", holds, sentence, {**difference.model_dump(), "noise_floor": floor})


def _headline(figures: NextItemFigures | None) -> dict[str, float]:
    """The main figures, flat, for tables and tags."""
    if figures is None:
        return {}
    return {"Recall@10": figures.rows[SERVED].recall_at_10} | {
        f"gain over {other}": figures.difference(other).mean for other in figures.compared
    }


def _table(figures: NextItemFigures | None) -> Sequence[Json]:
    """The rows, for people."""
    rows = figures.rows.items() if figures else ()
    return [
        {
            "name": name,
            "recall_at_10": row.recall_at_10,
            "low": row.interval["pattern_low"],
            "high": row.interval["pattern_high"],
        }
        for name, row in rows
    ]
