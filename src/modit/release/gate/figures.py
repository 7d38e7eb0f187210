"""The figures of a report that the gate looks at, taken out of it and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modit.core.errors import ArtifactError
from modit.evaluate.slices import HEAD, SLICES, TAIL
from modit.release.gate.evidence import number, ordered

Json = dict[str, Any]

POLICY, SFT, AVERAGE, CHAMPION = "HPPO", "MO-DiT", "Average pooling", "Champion"
AGAINST_AVERAGE, AGAINST_SFT, AGAINST_CLASSICAL = "HPPO - Average pooling", "HPPO - MO-DiT", "HPPO - best classical"
AGAINST_CHAMPION = "HPPO - Champion"
ROUNDING = 2e-6


class Difference(NamedTuple):
    """A paired difference with its 95 % interval, in shares."""

    mean: float
    low: float
    high: float

    @property
    def points(self) -> str:
        """In percentage points, with the interval."""
        return f"{100 * self.mean:+.1f} points, interval {100 * self.low:+.1f} to {100 * self.high:+.1f}"


@dataclass(frozen=True)
class SliceFigures:
    """One slice of a split.

    Attributes:
        cases: of the slice.
        joint: difference in Joint@K to what slices are compared with; None where there is no case.
        same: the same of Same@K.
        reason: why there is no case.
    """

    cases: int
    joint: Difference | None = None
    same: Difference | None = None
    reason: str | None = None


@dataclass(frozen=True)
class SplitFigures:
    """What the gate looks at in one split of one domain.

    Attributes:
        cases: judged.
        joint: mean Joint@K of `hppo`, `mo_dit`, `average`, `best_classical` and, if there is one, `champion`.
        same: mean Same@K of the same.
        best_classical: name of that row.
        differences: comparison -> paired difference in Joint@K.
        same_difference: to the champion in Same@K, or None.
        slices_against: what slices are compared with.
        slices: by name.
    """

    cases: int
    joint: dict[str, float]
    same: dict[str, float]
    best_classical: str
    differences: dict[str, Difference]
    same_difference: Difference | None
    slices_against: str
    slices: dict[str, SliceFigures]


def read_figures(domain: str, split: str, result: Json, interval: str, champion: bool) -> SplitFigures:
    """Takes the gate's figures out of one split of the report.

    Args:
        domain: for messages.
        split: for messages.
        result: the split's part of the report.
        interval: "cases" or "patterns", over which the intervals were resampled.
        champion: whether there must be one among the rows.

    Raises:
        ArtifactError: a row, a comparison or a slice is missing, a figure is no number or out of its range, or figures
            contradict each other.
    """
    place, prefix = f"report.json, domain {domain}, split {split}", "pattern_" if interval == "patterns" else "case_"
    try:
        return _read(result, place, prefix, champion)
    except KeyError as error:
        raise ArtifactError(f"{place}: no {error}, which the gate must read") from error


def _read(result: Json, place: str, prefix: str, champion: bool) -> SplitFigures:
    rows, compared = _by_name(result["rows"], place), _by_name(result["comparisons"], place)
    best, against = result["best_classical"]["test"], CHAMPION if champion else AVERAGE
    names = {"hppo": POLICY, "average": AVERAGE, "best_classical": best, "mo_dit": SFT}
    names |= {"champion": CHAMPION} if champion else {}
    joint, same = (
        {key: number(rows[name][figure], f"{place}, {figure} of {name}", low=0) for key, name in names.items()}
        for figure in ("joint", "same")
    )
    pairs = {AGAINST_AVERAGE: "average", AGAINST_SFT: "mo_dit", AGAINST_CLASSICAL: "best_classical"}
    pairs |= {AGAINST_CHAMPION: "champion"} if champion else {}
    differences, of_same = (
        {
            name: _difference(compared[name][figure], figures, key, f"{place}, {name}, {figure}", prefix)
            for name, key in pairs.items()
        }
        for figure, figures in (("joint", joint), ("same", same))
    )
    if result["slices_against"] != against:
        raise ArtifactError(
            f"{place}: slices are compared with {result['slices_against']!r}; allowed here: {against!r}"
        )
    slices = _slices(result, place, prefix)
    return SplitFigures(result["cases"], joint, same, best, differences, of_same.get(AGAINST_CHAMPION), against, slices)


def _difference(entry: Json, figures: Mapping[str, float], key: str, what: str, prefix: str) -> Difference:
    """A paired difference of HPPO to another row; its mean is that of the rows."""
    found, expected = Difference(*ordered(entry, what, prefix)), figures["hppo"] - figures[key]
    if abs(found.mean - expected) > ROUNDING:
        raise ArtifactError(f"{what}: the mean difference is {found.mean}, that of the rows {expected:.6f}")
    return found


def _by_name(entries: list[Json], place: str) -> dict[str, Json]:
    names = [entry["name"] for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"{place}: {', '.join(twice)} stands there twice")
    return dict(zip(names, entries, strict=True))


def _slices(result: Json, place: str, prefix: str) -> dict[str, SliceFigures]:
    entries = _by_name(result["slices"], place)
    if missing := [name for name in SLICES if name not in entries]:
        raise ArtifactError(f"{place}: no slice {', '.join(missing)}, which the gate must read")
    slices = {name: _slice(entries[name], f"{place}, slice {name}", prefix) for name in SLICES}
    parts = sum(slices[name].cases for name in (HEAD, TAIL))
    if parts != result["cases"]:
        raise ArtifactError(f"{place}: {HEAD} and {TAIL} have {parts} cases, the split has {result['cases']}")
    return slices


def _slice(entry: Mapping[str, Any], what: str, prefix: str) -> SliceFigures:
    if not entry["cases"]:
        return SliceFigures(0, reason=entry["reason"])
    joint, same = (
        Difference(*ordered(entry["difference"][name], f"{what}, {name}", prefix)) for name in ("joint", "same")
    )
    return SliceFigures(entry["cases"], joint, same)
