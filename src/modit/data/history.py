"""A window beside the windows that were accepted before it: what is new, and is there as much as there used to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from modit.core.window import Days
from modit.data.measurements import Measurement, measured
from modit.data.params import ValidationParams

Json = Mapping[str, Any]
_DATED = ("interactions", "retrieval_labels")
# Half-width of a band in standard deviations, of the history and of a share's own error.
_DEVIATIONS = 4.0


def news(now: Json, history: Sequence[Json]) -> dict[str, int | str | None]:
    """Counts the accepted rows of interactions and retrieval labels that the last accepted window did not hold.

    Days are compared by their rows and by a sum over these rows: a day that was replaced by as many other rows counts
    as one new row.

    Returns:
        `new_rows`; `late_rows`, those of them on days that the last window had read already; and `compared_with`, the
        last accepted window as `START to END`, or None where there is none.
    """
    before = history[-1] if history else {}
    new = late = 0
    for table in _DATED:
        known = before.get(table, {}).get("by_day", {})
        for day, (rows, total) in now.get(table, {}).get("by_day", {}).items():
            # days before the last window began were read by earlier ones
            if day >= before.get("start", ""):
                there, sum_there = known.get(day, (0, 0))
                added = max(rows - there, int(total != sum_there))
                new += added
                late += added if day < before.get("end", "") else 0
    window = f"{before['start']} to {before['end']}" if before else None
    return {"new_rows": new, "late_rows": late, "compared_with": window}


def measure_volume(now: Json, days: Days, history: Sequence[Json], params: ValidationParams) -> list[Measurement]:
    """Days without rows, and rows a day over the median of the accepted windows."""
    found = []
    for table in (name for name in _DATED if name in now):
        present = now[table]["by_day"]
        missing = [str(day) for day in days.each() if str(day) not in present]
        details = (f"{len(missing)} of {days.count} days have no row: {', '.join(missing[:3])} ...",) if missing else ()
        share = len(missing) / days.count
        found.append(measured(table, "days_present", share, params, details=details))
        a_day = [record[table]["rows"] / _count(record) for record in history if record.get(table, {}).get("rows")]
        if a_day:
            usual, rows = float(np.median(a_day)), now[table]["rows"] / days.count
            detail = f"{rows:.0f} rows a day, the last {len(a_day)} accepted windows had {usual:.0f}"
            found.append(measured(table, "volume", rows / usual, params, details=[detail]))
    return found


def measure_rates(now: Json, history: Sequence[Json], params: ValidationParams) -> list[Measurement]:
    """How far shares of positives lie from the centre of their learned bands, in half-widths: beyond 1 is outside.

    The band of a domain is the mean of the accepted windows, give or take the greatest of `rate_tolerance`, four
    standard deviations between windows, and four standard errors of this window's share (over lists, for labels).
    """
    found = []
    for rule, table in (("label_rate", "retrieval_labels"), ("attribute_rate", "items")):
        past = [record.get(f"{rule}s", {}) for record in history]
        rates = sorted(now.get(f"{rule}s", {}).items())
        bands = [band for domain, counts in rates if (band := _band(domain, counts, past, params))]
        if bands:
            distance = max(distance for distance, _ in bands)
            details = tuple(text for _, text in sorted(bands, reverse=True))
            found.append(measured(table, rule, distance, params, details=details))
    return found


def _band(
    domain: str, counts: Sequence[int], history: Sequence[Json], params: ValidationParams
) -> tuple[float, str] | None:
    """How far the share of a domain lies from the centre of its band, and that in words; None without a band."""
    positives, rows, independent = counts
    past = [rates[domain][0] / rates[domain][1] for rates in history if rates.get(domain, (0, 0))[1]]
    if not past or not rows:
        return None
    centre, found = float(np.mean(past)), positives / rows
    error = (max(centre * (1 - centre), 1e-6) / independent) ** 0.5
    half = max(params.rate_tolerance, _DEVIATIONS * float(np.std(past)), _DEVIATIONS * error)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return abs(found - centre) / half, f"{domain}: {found:.3f} of {rows} rows, learned band {low:.3f} to {high:.3f}"


def _count(record: Json) -> int:
    return (date.fromisoformat(record["end"]) - date.fromisoformat(record["start"])).days
