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
from modit.data.catalog import Catalog
from modit.data.data_docs import write_data_docs
from modit.data.drift import Drift, compare, measure_drift
from modit.data.expectations import judge
from modit.data.history import News, measure_rates, measure_volume, news
from modit.data.interactions import InteractionCounts
from modit.data.measurements import Measurement, contract_measurements, refuse
from modit.data.params import ValidationParams
from modit.data.profile import decode, learn_codebook, profile
from modit.data.rules import TABLES
from modit.data.validate import Inspection, ReadOptions, Report, inspect, refuse_nothing_to_learn_from
from modit.data.window import TimeRules, Window

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

    @property
    def catalog(self) -> Catalog:
        """The good rows as a catalogue; without sequences where the window has none."""
        return self.inspection.catalog


class WindowValidator:
    """Validates windows of one catalogue.

    Args:
        params: section `validate_logs`.
        window: section `window`.
        days: the window, or None for everything.
        history: records of the last accepted windows, oldest first.
        options: where and how to read.
    """

    def __init__(
        self,
        params: ValidationParams,
        window: WindowParams,
        days: Days | None,
        history: Sequence[Mapping[str, Any]],
        options: ReadOptions | None = None,
    ) -> None:
        self._params, self._days, self._history = params, days, list(history)
        self._options = options
        self._times = TimeRules(Window.of_days(days), window.overlap_days)

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
            found = inspect(source, quarantine, self._params, self._times, self._options)
        except ContractError as error:
            self._explain_unreadable(source, validation, error)
            raise
        found.report.save(quarantine)
        now, drifts = self._compare(found)
        heard = news(now or {}, self._history)
        judgement = judge(found.measurements, drifts, self._params)
        failing = judgement.failing(found.measurements)
        outcome = self._outcome(source, found.report, heard, failing, drifts, is_dated=_is_dated(found))
        _write(validation / OUTCOME_FILE, outcome)
        _write(
            validation / "facts.json",
            {"facts": [f.as_json() for f in found.measurements], "drift": list(map(asdict, drifts))},
        )
        write_data_docs(validation, outcome, found.measurements, drifts, judgement, self._rows_a_day(now or {}))
        refuse(failing)
        has_interactions = found.interactions is not None and found.interactions.order
        if has_interactions and outcome["outcome"] == ACCEPTED and found.report.interactions.sequences == 0:
            refuse_nothing_to_learn_from(found.report.interactions)
        if now is not None:
            _write(validation / "profile.json", now)
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

    def _outcome(
        self,
        source: Path,
        report: Report,
        heard: News,
        failing: Sequence[Measurement],
        drifts: Sequence[Drift],
        is_dated: bool = True,
    ) -> Json:
        tables = _tables(report)
        word, reason = ACCEPTED, "Every rule held within its limits."
        if failing:
            rules = ", ".join(dict.fromkeys(f"{fact.rule} ({fact.table})" for fact in failing))
            word, reason = REFUSED, f"Refused: past the limits of section validate_logs: {rules}."
        elif self._days is not None and is_dated and not heard.rows:
            held = f"that the accepted window {heard.compared_with} did not hold" if heard.compared_with else "at all"
            there = f"{tables['interactions']['accepted']} accepted interactions"
            word = SKIPPED_NO_DATA
            reason = f"No new data: {there} from {self._days.start} to {self._days.end}, none {held}."
        return {
            "outcome": word,
            "reason": reason,
            "catalogue": source.name,
            "window": None if self._days is None else {"start": str(self._days.start), "end": str(self._days.end)},
            "compared_with": heard.compared_with,
            "new_rows": heard.rows,
            "late_rows": heard.late,
            "tables": tables,
            "warnings": [str(drift) for drift in drifts if drift.level == "warn"],
            "significance": self._params.drift.significance,
        }

    def _rows_a_day(self, now: Json) -> dict[str, dict[str, int]]:
        dated = {table: now[table]["by_day"] for table in TABLES if now.get(table, {}).get("by_day")}
        names = [str(day) for day in self._days.each()] if self._days else []
        return {table: {day: by_day.get(day, [0])[0] for day in names} for table, by_day in dated.items()}

    def _explain_unreadable(self, source: Path, validation: Path, error: ContractError) -> None:
        broken = [each for table in TABLES for each in contract_measurements(table, error.breaches) if each.value]
        judgement = judge(broken, [], self._params)
        report = Report(0, 0, {}, interactions=InteractionCounts(), retrieval_labels=None)
        outcome = self._outcome(source, report, News(0, 0, None), broken, [])
        outcome |= {"outcome": REFUSED, "tables": {}}
        outcome["reason"] = "Refused before its rows could be read: files or columns break the contract."
        if not broken:
            outcome["reason"] = str(error)
        _write(validation / OUTCOME_FILE, outcome)
        _write(validation / "facts.json", {"facts": [each.as_json() for each in broken], "drift": []})
        write_data_docs(validation, outcome, broken, [], judgement, {})


def _is_dated(found: Inspection) -> bool:
    """Whether the input has a table with dates: without one, only its items can be new."""
    return found.labels is not None or found.interactions is None or bool(found.interactions.order)


def _tables(report: Report) -> Json:
    found, quarantined = report.interactions, report.quarantined
    rows = {"items": (report.items + sum(report.items_quarantined.values()), 0, report.items)}
    rows["interactions"] = (found.rows, found.outside_window, found.kept + found.in_short_sequences)
    if report.labels:
        rows["retrieval_labels"] = (report.labels.rows, report.labels.outside_window, report.labels.kept)
    return {
        table: {
            "rows": read,
            "outside_window": outside,
            "set_aside": sum(quarantined.get(table, {}).values()),
            "accepted": accepted,
            "quarantined": quarantined.get(table, {}),
        }
        for table, (read, outside, accepted) in rows.items()
    }


def _write(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
