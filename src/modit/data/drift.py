"""How far each column has moved from the last accepted window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from modit.data.measurements import Measurement, measured
from modit.data.params import DriftParams, ValidationParams

Json = Mapping[str, Any]
Level = Literal["ok", "warn", "fail"]

_BINS = 10
# An empty bin counts as this share, so that the index stays finite.
_LEAST_SHARE = 1e-4
_FEW = 100


@dataclass(frozen=True)
class Drift:
    """The movement of one column.

    Attributes:
        column: table and column, and what of it is watched.
        psi: population stability index, over deciles of the reference or over categories.
        test: the two-sample test: "Kolmogorov-Smirnov", or "chi-square" on categories.
        distance: its effect: greatest difference of the distribution functions, or total variation; in [0, 1].
        p_value: of the test.
        level: `ok`, `warn` or `fail`, by the thresholds in the parameters.
    """

    column: str
    psi: float
    test: str
    distance: float
    p_value: float
    level: Level

    def beyond_chance(self, significance: float) -> tuple[float, float]:
        """Index and distance; zeros where chance explains them, as it does a great index of a handful of rows."""
        return (self.psi, self.distance) if self.p_value < significance else (0.0, 0.0)

    def __str__(self) -> str:
        return (
            f"{self.column}: population stability index {self.psi:.3f}, {self.test} distance {self.distance:.3f} "
            f"(p = {self.p_value:.2g})"
        )


def stability_index(now: np.ndarray, reference: np.ndarray) -> float:
    """Population stability index of counts [B] in the same bins: the sum of (p - q) log(p / q)."""
    p, q = (np.maximum(counts / counts.sum(), _LEAST_SHARE) for counts in (now, reference))
    return float(((p - q) * np.log(p / q)).sum())


def compare(now: Json, reference: Json, params: DriftParams) -> list[Drift]:
    """Compares the columns that both windows have; each argument is `columns` of a profile."""
    shared = [name for name in now if name in reference and now[name]["kind"] == reference[name]["kind"]]
    return [_compare(name, now[name], reference[name], params) for name in shared]


def measure_drift(drifts: list[Drift], params: ValidationParams) -> list[Measurement]:
    """The greatest figures of each table, and the columns beyond the level of warning."""
    found = []
    for table in dict.fromkeys(drift.column.partition(".")[0] for drift in drifts):
        mine = [drift for drift in drifts if drift.column.startswith(f"{table}.")]
        moved = [str(d) for d in sorted(mine, key=lambda d: -d.psi) if d.level != "ok"]
        beyond = (drift.beyond_chance(params.drift.significance) for drift in mine)
        psi, distance = (max(each) for each in zip(*beyond, strict=True))
        found.append(measured(table, "drift_psi", psi, params, details=moved))
        found.append(measured(table, "drift_distance", distance, params, details=moved))
    return found


def _compare(name: str, now: Json, reference: Json, params: DriftParams) -> Drift:
    if now["kind"] == "number":
        psi, test, distance, p_value = _numbers(np.array(now["sample"]), np.array(reference["sample"]))
    else:
        psi, test, distance, p_value = _categories(now["counts"], reference["counts"])
    drift = Drift(name, psi, test, distance, p_value, "ok")
    psi, distance = drift.beyond_chance(params.significance)
    if psi > params.psi_fail or distance > params.distance_fail:
        return replace(drift, level="fail")
    return replace(drift, level="warn") if psi > params.psi_warn or distance > params.distance_warn else drift


def _numbers(now: np.ndarray, reference: np.ndarray) -> tuple[float, str, float, float]:
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, _BINS + 1)[1:-1]))
    # a value on an edge belongs to the bin below, so that a constant column has a bin of its own
    counts = [np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) for values in (now, reference)]
    # the limit law is far off for a handful of values, the exact one slow for thousands
    found = stats.ks_2samp(now, reference, method="exact" if max(len(now), len(reference)) <= _FEW else "asymp")
    return stability_index(*counts), "Kolmogorov-Smirnov", float(found.statistic), float(found.pvalue)


def _categories(now: Mapping[str, int], reference: Mapping[str, int]) -> tuple[float, str, float, float]:
    names = sorted({*now, *reference})
    counts = np.array([[side.get(name, 0) for name in names] for side in (now, reference)], np.float64)
    distance = float(0.5 * np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum())
    p_value = float(stats.chi2_contingency(counts).pvalue) if len(names) > 1 else 1.0
    return stability_index(counts[0], counts[1]), "chi-square", distance, p_value
