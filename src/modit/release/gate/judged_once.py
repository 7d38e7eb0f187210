"""The gate on kinds that are judged once for a catalogue: the same two keys, read out of one evaluation.

What it compares is the exported files, as they would be served, with rows that a user would try first and with the
champion. What a task asks of its figures is in `Rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from modit.core.errors import ArtifactError
from modit.evaluate.bootstrap import MINIMUM_PATTERNS
from modit.evaluate.names import CHAMPION
from modit.release.documents import Json
from modit.release.gate.champion import NONE, READY, Champion
from modit.release.gate.figures import ROUNDING, Difference, Figures, Share, by_name
from modit.release.gate.gate import QUALITY, SERVABILITY, judged_by, kept_items, not_comparable, served_as_exported
from modit.release.gate.quality import Finding, nothing_judged
from modit.release.gate.servability import CHECKS
from modit.release.kinds import kind_of
from modit.release.params import FanOutGateParams, NextItemGateParams, SearchGateParams
from modit.release.verdict import FIGURES

TEST = "test"
Params = NextItemGateParams | SearchGateParams | FanOutGateParams


class _Figured(Figures):
    """An entry with a value of each figure that the gate reads, which the context of the validation names."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, entry: Any, info: ValidationInfo) -> Any:
        names: Sequence[str] = (info.context or {})["figures"]
        if not isinstance(entry, dict):
            return entry
        interval = entry.get(f"{names[0]}_interval")
        return entry | {"figures": {name: entry[name] for name in names if name in entry}, "interval": interval}


class _Row(_Figured):
    figures: dict[str, Share]
    interval: Json
    hallucination: Share | None = None


class _Differences(_Figured):
    figures: dict[str, Difference]


class _Comparison(_Differences):
    row: str
    against: str


class _Slice(Figures):
    cases: Annotated[int, Field(ge=0)]
    difference: _Differences | None = None
    reason: str | None = None


class TaskFigures(Figures):
    """What the gate reads of the test cases.

    Attributes:
        champion: Whether there is a champion to compare with.
        cases: Number of judged cases.
        rows: By name.
        comparisons: By name.
        slices_against: Name of the row that slices are compared with.
        slices: By name.
    """

    champion: bool
    cases: Annotated[int, Field(ge=1)]
    rows: Annotated[dict[str, _Row], BeforeValidator(partial(by_name, "row"))]
    comparisons: Annotated[dict[str, _Comparison], BeforeValidator(partial(by_name, "comparison"))]
    slices_against: str
    slices: Annotated[dict[str, _Slice], BeforeValidator(partial(by_name, "slice"))]

    @model_validator(mode="after")
    def _expect_all(self, info: ValidationInfo) -> TaskFigures:
        """Whether all is there that the gate must read, and comparisons are those of the rows."""
        rules: Rules = (info.context or {})["rules"]
        others = rules.compared(self.champion)
        pairs = {comparison_name(rules.served, other): other for other in others}
        needed = (("row", (rules.served, *others), self.rows), ("comparison", pairs, self.comparisons))
        for kind, wanted, there in (*needed, ("slice", rules.slices, self.slices)):
            if missing := [name for name in wanted if name not in there]:
                raise ValueError(f"no {kind} {', '.join(missing)}, which the gate must read")
        for name, other in pairs.items():
            found = self.comparisons[name]
            if (found.row, found.against) != (rules.served, other):
                raise ValueError(f"{name} compares {found.row!r} with {found.against!r}")
            for figure in rules.figures:
                self._expect_difference(name, found, figure)
        if self.champion and self.slices_against != CHAMPION:
            raise ValueError(f"slices are compared with {self.slices_against!r}; allowed here: {CHAMPION!r}")
        if (parts := sum(self.slices[name].cases for name in rules.slices)) != self.cases:
            raise ValueError(f"{', '.join(rules.slices)} have {parts} cases, the split has {self.cases}")
        return self

    def _expect_difference(self, name: str, found: _Comparison, figure: str) -> None:
        """Whether a comparison is that of its rows."""
        for what, entry in (
            (f"row {found.row}", self.rows[found.row]),
            (f"row {found.against}", self.rows[found.against]),
        ):
            if figure not in entry.figures:
                raise ValueError(f"{what} has no {figure}, which the gate must read")
        if figure not in found.figures:
            raise ValueError(f"{name} has no {figure}, which the gate must read")
        expected = self.rows[found.row].figures[figure] - self.rows[found.against].figures[figure]
        mean = found.figures[figure].mean
        if abs(mean - expected) > ROUNDING:
            raise ValueError(f"{name}: the mean difference is {mean}, that of the rows {expected:.6f}")


@dataclass(frozen=True)
class Rules:
    """Conditions of the gate on one task.

    Attributes:
        name: What stands for a domain.
        served: Name of the row of the exported files.
        simple: Rows that a user would try first; a retriever that is below them is not worth its training.
        figures: Keys of the figures that decide; slices are judged by the first.
        slices: That each case is in one of.
        cases: What a case is, in the plural, and what is resampled.
        sliced: What a slice is of, such as "sessions whose next item is".
        findings: The task's own conditions, on simple rows and the champion.
    """

    name: str
    served: str
    simple: tuple[str, ...]
    figures: tuple[str, ...]
    slices: tuple[str, ...]
    cases: tuple[str, str]
    sliced: str
    findings: Callable[[Judgement], Iterator[Finding]]

    def compared(self, champion: bool) -> tuple[str, ...]:
        """The rows that the served one is compared with."""
        return (*self.simple, CHAMPION) if champion else self.simple


@dataclass(frozen=True)
class Judgement:
    """What the conditions of a task are judged on.

    Attributes:
        rules: Of the task.
        figures: Measured.
        champion: As it was fetched.
        params: The task's section of the gate.
    """

    rules: Rules
    figures: TaskFigures
    champion: Champion
    params: Any

    def difference(self, other: str, figure: str | None = None) -> Difference:
        """The difference of the served row to another one, in the first figure or in one by its key."""
        name = comparison_name(self.rules.served, other)
        return self.figures.comparisons[name].figures[figure or self.rules.figures[0]]

    @property
    def served(self) -> _Row:
        """The row of the exported files."""
        return self.figures.rows[self.rules.served]


@dataclass(frozen=True)
class JudgedOnceEvidence:
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


def comparison_name(served: str, other: str) -> str:
    """The name that `evaluation.json` gives the comparison of the served row with another one."""
    return f"{served} - {other}"


def judge_once(evidence: JudgedOnceEvidence, rules: Rules, params: Params) -> Json:
    """The verdict on a retriever that is judged once for a catalogue, in the form of every verdict.

    Args:
        evidence: What was measured.
        rules: Of its task.
        params: The task's section of the gate.

    Returns:
        `status`, `thresholds`, and of the only one of `domains` what `modit.release.gate.gate.judge` gives, with `rows`
        in the place of splits: name, the figures by their keys, and the interval `low` and `high` of the first one.

    Raises:
        ArtifactError: What the gate must read is missing, was edited, or is of another run.
    """
    evidence.verify()
    champion, result = evidence.champion, evidence.measured.get("splits", {}).get(TEST)
    if result is None:
        raise ArtifactError(f"evaluation.json: no split {TEST}, which the gate must read")
    headline: dict[str, float] = {}
    table: list[Json] = []
    if result["cases"]:
        found = Judgement(rules, _read(result, champion.status == READY, rules), champion, params)
        quality, headline, table = list(_quality(found)), _headline(found), _table(found)
    else:
        quality = [nothing_judged(TEST, result["reason"])]
    checks = CHECKS[kind_of(rules.name).retriever]
    served = served_as_exported(rules.name, evidence.servability, evidence.parity, checks)
    domain = judged_by(champion, {QUALITY: quality, SERVABILITY: served}) | {
        "budgets": evidence.servability["budgets"],
        "figures": headline | {"parity difference": evidence.parity["greatest_difference"]},
        "splits": {},
        "rows": table,
    }
    return {
        "status": domain["status"],
        "thresholds": params.model_dump(mode="json"),
        "domains": {rules.name: domain},
    }


def _read(result: Json, champion: bool, rules: Rules) -> TaskFigures:
    try:
        context = {"figures": rules.figures, "rules": rules}
        return TaskFigures.model_validate(result | {"champion": champion}, context=context)
    except ValidationError as error:
        first = error.errors()[0]
        place = [f"evaluation.json, split {TEST}", ", ".join(map(str, first["loc"]))]
        message = first["msg"].removeprefix("Value error, ")
        raise ArtifactError(": ".join([*filter(None, place), message])) from error


def _quality(found: Judgement) -> Iterator[Finding]:
    figures, params, rules = found.figures, found.params, found.rules
    what, resampled = rules.cases
    cases = f"{figures.cases} {what} were judged, at least {params.minimum_cases} are needed"
    yield Finding("cases", figures.cases >= params.minimum_cases, cases, {"cases": figures.cases})
    first = found.difference(rules.simple[0])
    if first.low is None:
        sentence = f"{first.patterns} {resampled}, at least {MINIMUM_PATTERNS} are needed to resample them"
        yield Finding(resampled, False, sentence)
    yield from rules.findings(found)
    champion = found.champion
    if champion.status == READY:
        yield kept_items(champion, params.lost_items)
        yield from (_slice(found, name) for name in rules.slices if _large(found, name))
    elif champion.status != NONE:
        yield not_comparable(champion)


def _large(found: Judgement, name: str) -> bool:
    part = found.figures.slices[name]
    return part.difference is not None and part.cases >= found.params.minimum_slice_cases


def _slice(found: Judgement, name: str) -> Finding:
    part, floor = found.figures.slices[name], found.params.noise_floor
    assert part.difference is not None  # noqa: S101 - `_large`
    difference = part.difference.figures[found.rules.figures[0]]
    holds = None if difference.high is None else difference.high >= -floor
    limit = f"; the interval may not lie below {-100 * floor:.1f}" if holds is False else ""
    verb = "lose" if holds is False else "do not lose"
    subject = f"{found.rules.sliced} {name} ({part.cases})"
    sentence = f"{subject} {verb} to champion {found.champion.label}: {difference.points}{limit}"
    return Finding(f"slice {name}", holds, sentence, {**difference.model_dump(), "noise_floor": floor})


def _headline(found: Judgement) -> dict[str, float]:
    """The main figures, flat, for tables and tags."""
    rules, first = found.rules, found.rules.figures[0]
    headline = {FIGURES[figure]: found.served.figures[figure] for figure in rules.figures}
    for other in rules.compared(found.figures.champion):
        for figure in rules.figures:
            name = f"gain over {other}" if figure == first else f"{FIGURES[figure]} gain over {other}"
            headline[name] = found.difference(other, figure).mean
    return headline


def _table(found: Judgement) -> list[Json]:
    """The rows, for people."""
    return [
        {"name": name, "low": row.interval["pattern_low"], "high": row.interval["pattern_high"]} | row.figures
        for name, row in found.figures.rows.items()
    ]
