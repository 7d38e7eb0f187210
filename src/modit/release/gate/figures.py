"""The figures that the gate reads: taken out of `evaluation.json` and checked against each other.

pydantic checks each number's type and range; what is checked here is that the figures belong together. The names of a
task (its rows, comparisons, splits and slices) stand at the top, so that another task needs no other gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modit.core.errors import ArtifactError
from modit.evaluate.bootstrap import MINIMUM_PATTERNS, TOO_FEW
from modit.evaluate.names import (
    AGAINST_AVERAGE,
    AGAINST_CHAMPION,
    AGAINST_CLASSICAL,
    AGAINST_SFT,
    AVERAGE,
    CHAMPION,
    POLICY,
    SFT,
)
from modit.evaluate.seeds.slices import HEAD, SLICES, TAIL
from modit.release.documents import Json

_ROUNDING = 2e-6  # evaluations are rounded to 6 decimals
_TOLERANCE = 1e-5

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_SignedShare = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)


class Difference(_Figures):
    """A paired difference with its 95 % interval over patterns, in shares.

    Attributes:
        mean: Of all cases.
        low: Low end of the interval; None with too few patterns to resample.
        high: High end of the interval; None with too few patterns to resample.
        patterns: How many patterns the cases have.
    """

    mean: _SignedShare
    low: _SignedShare | None = Field(alias="pattern_low")
    high: _SignedShare | None = Field(alias="pattern_high")
    patterns: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _expect_order(self) -> Difference:
        if (self.low is None) != (self.high is None) or (self.low is None) != (self.patterns < MINIMUM_PATTERNS):
            raise ValueError(f"an interval {self.low} to {self.high} over {self.patterns} patterns is not possible")
        low, high = (self.mean if end is None else end for end in (self.low, self.high))
        if not low - _TOLERANCE <= self.mean <= high + _TOLERANCE:
            raise ValueError(f"the mean {self.mean} lies outside its interval {low} to {high}")
        return self

    @property
    def points(self) -> str:
        """In percentage points, with the interval."""
        if self.low is None or self.high is None:
            return f"{100 * self.mean:+.1f} points, {TOO_FEW} ({self.patterns})"
        return f"{100 * self.mean:+.1f} points, interval {100 * self.low:+.1f} to {100 * self.high:+.1f}"


class _Pair(_Figures):
    joint: Difference
    same: Difference


class _Row(_Figures):
    name: str
    joint: _Share
    same: _Share


class _Comparison(_Pair):
    name: str


class SliceFigures(_Figures):
    """A slice of a split.

    Attributes:
        name: Of the slice.
        cases: That belong to it.
        difference: Paired differences `joint` and `same` to what slices are compared with; None without a case.
        reason: Why there is no case.
    """

    name: str
    cases: Annotated[int, Field(ge=0)]
    difference: _Pair | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _expect_content(self) -> SliceFigures:
        if (self.difference if self.cases else self.reason) is None:
            raise ValueError(f"slice {self.name} has {self.cases} cases and neither figures nor a reason")
        return self


class _Best(_Figures):
    test: str


class _Split(_Figures):
    cases: Annotated[int, Field(ge=1)]
    rows: list[_Row]
    best_classical: _Best
    comparisons: list[_Comparison]
    slices_against: str
    slices: list[SliceFigures]


@dataclass(frozen=True)
class SplitFigures:
    """What the gate looks at in one split of one domain.

    Attributes:
        cases: Number of judged cases.
        joint: Mean Joint@K of `hppo`, `mo_dit`, `average`, `best_classical` and, if there is one, `champion`.
        same: Mean Same@K of the same rows.
        best_classical: Name of that row.
        differences: Comparison -> paired difference in Joint@K.
        same_difference: Paired difference in Same@K to the champion, or None.
        slices_against: Name of the row that slices are compared with.
        slices: By name.
    """

    cases: int
    joint: dict[str, float]
    same: dict[str, float]
    best_classical: str
    differences: dict[str, Difference]
    same_difference: Difference | None
    slices_against: str
    slices: dict[str, SliceFigures]

    def as_json(self) -> Json:
        """For the verdict."""
        return {name: _plain(value) for name, value in vars(self).items()}


def read_figures(domain: str, split: str, result: Json, champion: bool) -> SplitFigures:
    """Takes the gate's figures out of one split of an evaluation.

    Args:
        domain: For messages.
        split: For messages.
        result: The split's part of `evaluation.json`.
        champion: Whether the champion must be among the rows.

    Raises:
        ArtifactError: A row, a comparison or a slice is missing, a figure is not a number or out of its range, or
            figures contradict each other.
    """
    place = f"evaluation.json, domain {domain}, split {split}"
    try:
        return _select(_Split.model_validate(result), place, champion)
    except ValidationError as error:
        first = error.errors()[0]
        raise ArtifactError(f"{place}: {_where(result, first['loc'])}: {first['msg']}") from error


def _select(found: _Split, place: str, champion: bool) -> SplitFigures:
    rows, compared = _by_name(found.rows, "row", place), _by_name(found.comparisons, "comparison", place)
    slices, best = _by_name(found.slices, "slice", place), found.best_classical.test
    names = {"hppo": POLICY, "average": AVERAGE, "best_classical": best, "mo_dit": SFT}
    pairs = {AGAINST_AVERAGE: "average", AGAINST_SFT: "mo_dit", AGAINST_CLASSICAL: "best_classical"}
    if champion:
        names["champion"], pairs[AGAINST_CHAMPION] = CHAMPION, "champion"
    needed = (("row", names.values(), rows), ("comparison", pairs, compared), ("slice", SLICES, slices))
    for kind, wanted, there in needed:
        if missing := [name for name in wanted if name not in there]:
            raise ArtifactError(f"{place}: no {kind} {', '.join(missing)}, which the gate must read")
    for name, other in pairs.items():
        for figure in ("joint", "same"):
            mean = getattr(compared[name], figure).mean
            expected = getattr(rows[POLICY], figure) - getattr(rows[names[other]], figure)
            if abs(mean - expected) > _ROUNDING:
                raise ArtifactError(
                    f"{place}, {name}, {figure}: the mean difference is {mean}, that of the rows {expected:.6f}"
                )
    _expect_slices(found, slices, place, CHAMPION if champion else AVERAGE)
    return SplitFigures(
        cases=found.cases,
        joint={key: rows[name].joint for key, name in names.items()},
        same={key: rows[name].same for key, name in names.items()},
        best_classical=best,
        differences={name: compared[name].joint for name in pairs},
        same_difference=compared[AGAINST_CHAMPION].same if champion else None,
        slices_against=found.slices_against,
        slices={name: slices[name] for name in SLICES},
    )


def _expect_slices(found: _Split, slices: Mapping[str, SliceFigures], place: str, against: str) -> None:
    if found.slices_against != against:
        raise ArtifactError(f"{place}: slices are compared with {found.slices_against!r}; allowed here: {against!r}")
    parts = sum(slices[name].cases for name in (HEAD, TAIL))
    if parts != found.cases:
        raise ArtifactError(f"{place}: {HEAD} and {TAIL} have {parts} cases, the split has {found.cases}")


def _by_name(entries: list[Any], kind: str, place: str) -> dict[str, Any]:
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"{place}: {kind} {', '.join(twice)} occurs twice")
    return dict(zip(names, entries, strict=True))


def _where(value: Any, place: tuple[int | str, ...]) -> str:
    """The place of a field for people: entries of a list by their name."""
    words = []
    for step in place:
        value = value[int(step)] if isinstance(value, list) else value.get(step) if isinstance(value, dict) else None
        named = isinstance(step, int) and isinstance(value, dict)
        words.append(str(value.get("name", step)) if named else str(step))
    return ", ".join(words)


def _plain(value: Any) -> Any:
    if isinstance(value, SliceFigures):
        pair = _plain(value.difference) if value.difference else {"joint": None, "same": None}
        return {"cases": value.cases, "reason": value.reason, **pair}
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value
