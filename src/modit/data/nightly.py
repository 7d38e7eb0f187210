"""One window from reading to outcome: rows checked, measurements judged, data docs written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.errors import ContractError
from modit.core.names import SKIPPED_NO_DATA
from modit.core.params import WindowParams
from modit.core.window import Days
from modit.data.data_docs import write_data_docs
from modit.data.drift import Drift, compare, measure_drift
from modit.data.expectations import judge
from modit.data.history import measure_rates, measure_volume, news
from modit.data.measurements import Measurement, contract_measurements, refuse
from modit.data.params import ValidationParams
from modit.data.profile import decode, learn_codebook, profile
from modit.data.rules import TABLES
from modit.data.validate import Inspection, Report, inspect, refuse_nothing_to_learn_from
from modit.data.window import Window

Json = dict[str, Any]

ACCEPTED, REFUSED = "ACCEPTED", "REFUSED"
OUTCOME_FILE = "outcome.json"


@dataclass(frozen=True)
class Night:
    """What became of a window that was not refused.

    Attributes:
        inspection: the good rows.
        outcome: content of `outcome.json`.
        record: the window's profile, to compare later windows with; None without a window.
    """

    inspection: Inspection
    outcome: Json
    record: Json | None


class WindowValidator:
    """Validates windows of one catalogue.

    Args:
        params: section `validate_logs`.
        window: section `window`.
        days: the window, or None for everything.
        history: records of the last accepted windows, oldest first.
        scratch: existing folder with some 30 bytes of room for each row of interactions; None for the quarantine.
        memory_gb: memory of the step in GiB.
        needs_domains: whether items must have verdicts and embeddings.
    """

    def __init__(
        self,
        params: ValidationParams,
        window: WindowParams,
        days: Days | None,
        history: Sequence[Mapping[str, Any]],
        scratch: Path | None = None,
        memory_gb: float = 4.0,
        needs_domains: bool = True,
    ) -> None:
        self._params, self._days, self._history = params, days, list(history)
        self._scratch, self._memory_gb, self._needs_domains = scratch, memory_gb, needs_domains
        self._window = Window.of_days(days, window.overlap_days)

    def run(self, source: Path, quarantine: Path, validation: Path) -> Night:
        """Reads and judges a window.

        Args:
            source: the input folder.
            quarantine: existing folder, gets the rows set aside and `report.json`.
            validation: existing folder, gets `outcome.json`, `facts.json`, `profile.json` and `data_docs/`.

        Raises:
            ContractError: the window is refused; `validation` says why, too.
        """
        try:
            found = inspect(
                source,
                quarantine,
                self._params,
                self._window,
                scratch=self._scratch,
                memory_gb=self._memory_gb,
                needs_domains=self._needs_domains,
            )
        except ContractError as error:
            broken = [each for table in TABLES for each in contract_measurements(table, error.breaches) if each.value]
            reason = "Refused before its rows could be read: files or columns break the contract."
            unreadable: Json = {
                "outcome": REFUSED,
                "reason": reason if broken else str(error),
                "tables": {},
                "compared_with": None,
            }
            self._conclude(validation, self._outcome(source, Report(), {}, [], is_dated=True) | unreadable, broken)
            raise
        found.report.save(quarantine)
        now, drifts = self._compare(found)
        outcome = self._outcome(source, found.report, now or {}, drifts, _is_dated(found))
        refuse(self._conclude(validation, outcome, found.measurements, drifts, self._rows_a_day(now or {})))
        if outcome["outcome"] == ACCEPTED:
            refuse_nothing_to_learn_from(found)
        if now is not None:
            _write_json(validation / "profile.json", now)
        return Night(found, outcome, now)

    def _compare(self, found: Inspection) -> tuple[Json | None, list[Drift]]:
        """The window's profile and its drift; adds the measurements that need other windows."""
        if self._days is None or found.interactions is None:
            return None, []
        now = profile(found.items, found.interactions, found.labels, self._codebook(found.items.embeddings))
        now |= {"start": self._days.start.isoformat(), "end": self._days.end.isoformat()}
        if found.interactions.order and not now["interactions"]["rows"]:
            return now, []
        reference = self._history[-1]["columns"] if self._history else {}
        drifts = compare(now["columns"], reference, self._params.drift)
        found.measurements += measure_volume(now, self._days, self._history, self._params)
        found.measurements += measure_rates(now, self._history, self._params)
        found.measurements += measure_drift(drifts, self._params)
        return now, drifts

    def _codebook(self, embeddings: np.ndarray) -> np.ndarray:
        if self._history:
            codebook = decode(self._history[-1]["codebook"])
            if codebook.shape[1] == embeddings.shape[1]:
                return codebook
        return learn_codebook(embeddings, self._params.drift.cells)

    def _outcome(self, source: Path, report: Report, now: Json, drifts: Sequence[Drift], is_dated: bool) -> Json:
        """Content of `outcome.json` for a window that no suite refuses."""
        heard, tables = news(now, self._history), _tables(report)
        word, reason = ACCEPTED, "Every rule held within its limits."
        if self._days is not None and is_dated and not heard["new_rows"]:
            before = heard["compared_with"]
            held = f"that the accepted window {before} did not hold" if before else "at all"
            there = f"{tables['interactions']['accepted']} accepted interactions"
            word = SKIPPED_NO_DATA
            reason = f"No new data: {there} from {self._days.start} to {self._days.end}, none {held}."
        return {
            "outcome": word,
            "reason": reason,
            "catalogue": source.name,
            "window": None if self._days is None else {"start": str(self._days.start), "end": str(self._days.end)},
            **heard,
            "tables": tables,
            "warnings": [str(drift) for drift in drifts if drift.level == "warn"],
            "significance": self._params.drift.significance,
        }

    def _conclude(
        self,
        validation: Path,
        outcome: Json,
        measurements: Sequence[Measurement],
        drifts: Sequence[Drift] = (),
        rows_a_day: Json | None = None,
    ) -> list[Measurement]:
        """Lets the suites judge, writes what they say, and gives the measurements that refuse the window."""
        judgement = judge(measurements, drifts, self._params)
        failing = judgement.failing(measurements)
        if failing and outcome["outcome"] != REFUSED:
            rules = ", ".join(dict.fromkeys(f"{fact.rule} ({fact.table})" for fact in failing))
            reason = f"Refused: past the limits of section validate_logs: {rules}."
            outcome |= {"outcome": REFUSED, "reason": reason}
        _write_json(validation / OUTCOME_FILE, outcome)
        facts = {"facts": [each.as_json() for each in measurements], "drift": list(map(asdict, drifts))}
        _write_json(validation / "facts.json", facts)
        write_data_docs(validation, outcome, measurements, drifts, judgement, rows_a_day or {})
        return failing

    def _rows_a_day(self, now: Json) -> dict[str, dict[str, int]]:
        dated = {table: now[table]["by_day"] for table in TABLES if now.get(table, {}).get("by_day")}
        names = [str(day) for day in self._days.each()] if self._days else []
        return {table: {day: by_day.get(day, [0])[0] for day in names} for table, by_day in dated.items()}


def _is_dated(found: Inspection) -> bool:
    """Whether the input has a table with dates: without one, only its items can be new."""
    return found.labels is not None or found.interactions is None or bool(found.interactions.order)


def _tables(report: Report) -> Json:
    in_short = {"interactions": report.interactions.in_short_sequences}
    return {
        table: {
            "rows": counts.rows,
            "outside_window": counts.outside_window,
            "set_aside": sum(counts.quarantined.values()),
            "accepted": counts.kept + in_short.get(table, 0),
            "quarantined": counts.quarantined,
        }
        for table, counts in report.tables.items()
    }


def _write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
