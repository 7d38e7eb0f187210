"""The figures that the gate reads: taken out of `evaluation.json` and checked against each other.

pydantic checks each number's type and range; what is checked here is that the figures belong together. Rows and
comparisons have the names of `modit.evaluate.names`.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from modit.core.errors import ArtifactError
from modit.evaluate.bootstrap import MINIMUM_PATTERNS, TOO_FEW
from modit.evaluate.names import (
    AGAINST_CHAMPION,
    AGAINST_CLASSICAL,
    AGAINST_SFT,
    AGAINST_TWO_STAGE,
    AVERAGE,
    CHAMPION,
    POLICY,
    SERVED,
    SERVED_AGAINST_AVERAGE,
    SFT,
    UNTRAINED,
)
from modit.evaluate.seeds.slices import HEAD, SLICES, TAIL
from modit.release.documents import Json

ROUNDING = 2e-6  # evaluations are rounded to 6 decimals
_TOLERANCE = 1e-5
# What the verdict calls the rows that HPPO, and HPPO with a reranked list, are compared with.
_KEYS = {
    SERVED_AGAINST_AVERAGE: "average",
    AGAINST_SFT: "mo_dit",
    AGAINST_CLASSICAL: "best_classical",
    AGAINST_TWO_STAGE: "best_two_stage",
    AGAINST_CHAMPION: "champion",
}

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_SignedShare = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


def by_name(kind: str, entries: list[Any]) -> dict[str, Any]:
    """Entries of a list by their names, each of which may occur once."""
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in entries):
        raise ValueError("allowed: entries with a name")
    names: list[str] = [each["name"] for each in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind} {', '.join(twice)} occurs twice")
    return dict(zip(names, entries, strict=True))


class Figures(BaseModel):
    """Figures that are read strictly: every field has its type, and unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)


class Difference(Figures):
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


class _Pair(Figures):
    joint: Difference
    same: Difference


class _Row(Figures):
    joint: Share
    same: Share


class _Best(Figures):
    test: str
    two_stage: str


class SliceFigures(Figures):
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


class SplitFigures(Figures):
    """What the gate looks at in one split of one domain.

    Attributes:
        champion: Whether there is a champion to compare with.
        cases: Number of judged cases.
        rows: Mean Joint@K and Same@K of each row.
        best_classical: Names of the best row that asks one query, `test`, and of the best that reranks, `two_stage`.
        comparisons: Paired differences in Joint@K and Same@K.
        slices_against: Name of the row that slices are compared with.
        slices: By name.
    """

    champion: bool
    cases: Annotated[int, Field(ge=1)]
    rows: Annotated[dict[str, _Row], BeforeValidator(partial(by_name, "row"))]
    best_classical: _Best
    comparisons: Annotated[dict[str, _Pair], BeforeValidator(partial(by_name, "comparison"))]
    slices_against: str
    slices: Annotated[dict[str, SliceFigures], BeforeValidator(partial(by_name, "slice"))]

    @property
    def compared(self) -> dict[str, tuple[str, str]]:
        """Comparison that the gate reads -> its two rows: HPPO's, or what is served of it, and the other."""
        single = {AGAINST_SFT: SFT, AGAINST_CLASSICAL: self.best_classical.test}
        served = {SERVED_AGAINST_AVERAGE: AVERAGE, AGAINST_TWO_STAGE: self.best_classical.two_stage}
        served |= {AGAINST_CHAMPION: CHAMPION} if self.champion else {}
        sides = (POLICY, single), (SERVED, served)
        return {name: (row, other) for row, others in sides for name, other in others.items()}

    @model_validator(mode="after")
    def _expect_all(self) -> SplitFigures:
        """Whether all is there that the gate must read, and the means of the comparisons are those of the rows."""
        rows = [row for pair in self.compared.values() for row in pair]
        needed = (("row", rows, self.rows), ("comparison", self.compared, self.comparisons))
        for kind, wanted, there in (*needed, ("slice", SLICES, self.slices)):
            if missing := [name for name in wanted if name not in there]:
                raise ValueError(f"no {kind} {', '.join(missing)}, which the gate must read")
        for name, (row, other) in self.compared.items():
            for figure in ("joint", "same"):
                mean = getattr(self.comparisons[name], figure).mean
                expected = getattr(self.rows[row], figure) - getattr(self.rows[other], figure)
                if abs(mean - expected) > ROUNDING:
                    raise ValueError(
                        f"{name}, {figure}: the mean difference is {mean}, that of the rows {expected:.6f}"
                    )
        return self

    @model_validator(mode="after")
    def _expect_slices(self) -> SplitFigures:
        """Whether slices are compared with the right row, and no case is in neither head nor tail."""
        against = CHAMPION if self.champion else AVERAGE
        if self.slices_against != against:
            raise ValueError(f"slices are compared with {self.slices_against!r}; allowed here: {against!r}")
        parts = sum(self.slices[name].cases for name in (HEAD, TAIL))
        if parts != self.cases:
            raise ValueError(f"{HEAD} and {TAIL} have {parts} cases, the split has {self.cases}")
        return self

    def as_json(self) -> Json:
        """For the verdict."""
        rows = {"hppo": POLICY, "hppo_reranked": SERVED}
        rows |= {_KEYS[name]: other for name, (_, other) in self.compared.items()}
        rows |= {"before_training": UNTRAINED} if UNTRAINED in self.rows else {}
        same = self.comparisons[AGAINST_CHAMPION].same if self.champion else None
        return {
            "cases": self.cases,
            "joint": {key: self.rows[name].joint for key, name in rows.items()},
            "same": {key: self.rows[name].same for key, name in rows.items()},
            "best_classical": self.best_classical.test,
            "best_two_stage": self.best_classical.two_stage,
            "differences": {name: self.comparisons[name].joint.model_dump(by_alias=True) for name in self.compared},
            "same_difference": same.model_dump(by_alias=True) if same else None,
            "slices_against": self.slices_against,
            "slices": {name: _slice_json(self.slices[name]) for name in SLICES},
        }


def _slice_json(found: SliceFigures) -> Json:
    pair = found.difference.model_dump(by_alias=True) if found.difference else {"joint": None, "same": None}
    return {"cases": found.cases, "reason": found.reason, **pair}


def read_figures(domain: str, split: str, result: Json, champion: bool) -> SplitFigures:
    """Takes the gate's figures out of one split of an `evaluation.json`; a champion must then be among the rows.

    Raises:
        ArtifactError: A row, a comparison or a slice is missing, a figure is not a number or out of its range, or
            figures contradict each other.
    """
    try:
        return SplitFigures.model_validate(result | {"champion": champion})
    except ValidationError as error:
        first = error.errors()[0]
        place = [f"evaluation.json, domain {domain}, split {split}", ", ".join(map(str, first["loc"]))]
        message = first["msg"].removeprefix("Value error, ")
        raise ArtifactError(": ".join([*filter(None, place), message])) from error
