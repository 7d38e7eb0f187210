"""What the gate reads of a domain, and whether all of it is of one run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.errors import ArtifactError
from modit.inference.sampler_file import digest_name, variants_in
from modit.release.gate.champion import Champion

Json = dict[str, Any]

_TOLERANCE = 1e-5  # reports are rounded to 6 decimals


@dataclass(frozen=True)
class Evidence:
    """What is known of one domain.

    Attributes:
        domain: its name.
        content: its part of `report.json`.
        measured: content of its `evaluation.json`, which the report must repeat.
        sampler: content of `sampler.json` of the candidate.
        champion: as it was fetched.
        servability: content of `servability.json`.
        parity: content of `parity.json`.
    """

    domain: str
    content: Json
    measured: Json
    sampler: Json
    champion: Champion
    servability: Json
    parity: Json

    @property
    def variants(self) -> list[str]:
        """Precisions of the candidate's files beside that of float32."""
        return variants_in(self.sampler)

    def verify(self) -> None:
        """Checks that the parts belong together.

        Raises:
            ArtifactError: one of them was edited, or is of another run; it is named.
        """
        if (place := first_difference(self.content, self.measured)) is not None:
            raise ArtifactError(
                f"report.json, domain {self.domain}: {place} is not what evaluation.json says; "
                "it was edited, or is of another run"
            )
        measured, sampler, trial = self.measured, self.sampler, self.servability
        pairs = [
            ("evaluation.json: candidate", measured.get("candidate"), "model_digest", sampler.get("model_digest")),
            ("evaluation.json: champion", measured.get("champion"), "champion.json", self.champion.facts),
        ]
        variants = [digest_name(name) for name in self.variants]
        tried = [("evaluation.json", measured.get("catalog", {}), "index_digest")]
        tried += [("evaluation.json", measured, name) for name in variants]
        tried += [("servability.json", trial, name) for name in ("sampler_digest", "index_digest", *variants)]
        pairs += [(f"{file}: {name}", found.get(name), name, sampler.get(name)) for file, found, name in tried]
        for what, found, other, expected in pairs:
            if found is None or found != expected:
                raise ArtifactError(
                    f"domain {self.domain}, {what} is {found}; the candidate's {other} is {expected}: not of one run"
                )


def read_strictly(path: Path) -> Any:
    """A JSON file without what JSON does not have, and without what a reader would drop.

    Raises:
        ArtifactError: it is missing or no JSON, a field stands twice in an object, or a number is NaN or infinite.
    """

    def pairs(found: list[tuple[str, Any]]) -> Json:
        names = [name for name, _ in found]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ArtifactError(f"{path}: {', '.join(twice)} stands twice in one object")
        return dict(found)

    def constant(name: str) -> float:
        raise ArtifactError(f"{path}: {name} is no number that a verdict may rest on")

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is missing or no JSON: {error}") from error


def first_difference(found: Any, expected: Any, place: str = "") -> str | None:
    """Where two JSON values differ first, such as `splits.item_holdout.rows.3.joint`, or None."""
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return f"{place}.{min(found.keys() ^ expected.keys())}".strip(".")
        pairs = [(name, found[name], expected[name]) for name in sorted(found)]
    elif isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            return f"the length of {place}"
        pairs = [(str(number), *both) for number, both in enumerate(zip(found, expected, strict=True))]
    else:
        return None if found == expected and type(found) is type(expected) else place
    below = (first_difference(mine, its, f"{place}.{name}".strip(".")) for name, mine, its in pairs)
    return next((each for each in below if each is not None), None)


def number(value: Any, what: str, low: float = -1.0, high: float = 1.0) -> float:
    """A finite number of a report.

    Args:
        value: found.
        what: file, place and name, for the message.
        low: least that is possible.
        high: most.

    Raises:
        ArtifactError: it is none, or outside of its range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArtifactError(f"{what} is {value!r}; a finite number is needed")
    if not low <= value <= high:
        raise ArtifactError(f"{what} is {value}; allowed: {low:g} to {high:g}")
    return float(value)


def ordered(value: Json, what: str, prefix: str) -> tuple[float, float, float]:
    """Mean, low and high of an interval of a difference, in [-1, 1].

    Args:
        value: as `modit.evaluate.bootstrap.paired_interval` makes them.
        what: for messages.
        prefix: "case_" over cases, "pattern_" over whole patterns.

    Raises:
        ArtifactError: one is no number, or the mean lies outside.
    """
    mean, low, high = (number(value.get(name), f"{what}, {name}") for name in ("mean", f"{prefix}low", f"{prefix}high"))
    if not low - _TOLERANCE <= mean <= high + _TOLERANCE:
        raise ArtifactError(f"{what}: the mean {mean} lies outside its interval {low} to {high}")
    return mean, low, high
