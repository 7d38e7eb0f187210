"""Trials of faults: sound logs of two windows, a fault put into the second, and a count of what became of every row."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.core.errors import ContractError
from modit.core.params import WindowParams
from modit.core.window import Days
from modit.data.nightly import WindowValidator
from modit.data.params import ValidationParams
from modit.data.validate import Inspection, inspect
from modit.data.window import DAY, Window
from tests.faults.injectors import ITEMS, Fault, Logs, Place

_LIST = 10


@dataclass(frozen=True)
class Result:
    """What became of a fault.

    Attributes:
        fault: the fault.
        bad: rows that it made bad; 0 where the window is refused.
        found: how: "set aside", "refused" or "missed".
        rules: rules that caught something.
        good_lost: good rows that were not accepted.
        bad_kept: bad rows that were accepted.
        message: of the refusal.
    """

    fault: Fault
    bad: int
    found: str
    rules: tuple[str, ...]
    good_lost: int
    bad_kept: int
    message: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it was found as it must be, by the right rule, without harm to other rows."""
        expected = "refused" if self.fault.refused else "set aside"
        by_name = self.fault.rule in self.rules if self.fault.refused else self.rules == (self.fault.rule,)
        return self.found == expected and by_name and self.good_lost == self.bad_kept == 0


class Trial:
    """Two windows of the same length; the first is accepted and is what the second is compared with.

    Args:
        items: the table `items`.
        interactions: the table `interactions` with `timestamp`; duplicates and unknown items are left out.
        start: first day of the first window.
        days: length of a window.
        params: section `validate_logs`.
    """

    def __init__(
        self, items: pa.Table, interactions: pa.Table, start: date, days: int, params: ValidationParams
    ) -> None:
        middle, end = start + timedelta(days=days), start + timedelta(days=2 * days)
        self._params, self._days = params, Days(middle, end)
        self._first = dated_logs(items, interactions, Days(start, middle))
        self.sound = dated_logs(items, interactions, self._days)
        with _folders() as (source, quarantine, validation):
            first = WindowValidator(params, WindowParams(), Days(start, middle), [])
            self._history = [first.run(self._first.write(source), quarantine, validation).record or {}]

    def run(self, fault: Fault) -> Result:
        """Puts a fault into the second window and validates it."""
        logs = self.sound.copy()
        bad = fault.change(logs, np.random.default_rng(0))
        rows = sum(map(len, logs.tables.values()))
        with _folders() as (source, quarantine, validation):
            try:
                night = self._validator().run(logs.write(source), quarantine, validation)
            except ContractError as error:
                rules = tuple(rule for _, rule, _, _ in error.breaches) or _rules_in(str(error))
                return Result(fault, 0, "refused", rules, 0, 0, str(error))
            caught = _set_aside(quarantine)
            accepted = sum(table["accepted"] for table in night.outcome["tables"].values())
            places = set(caught)
            rules = tuple(sorted(set(caught.values())))
            lost, kept = len(places - bad), len(bad - places)
            if not (lost or kept) and not self._is_all_of(logs, bad, night.inspection):
                lost = max(1, rows - len(bad) - accepted)
            return Result(fault, len(bad), "set aside" if caught else "missed", rules, lost, kept)

    def _is_all_of(self, logs: Logs, bad: set[Place], found: Inspection) -> bool:
        """Whether what is trained on is, row for row, the logs without their bad rows."""
        good = logs.without(bad)
        tables = [good.tables[file] for file in good.files("retrieval_labels")]
        labels = sorted(row for table in tables for row in zip(*table.to_pydict().values(), strict=True))
        # a list without its bad rows would have holes, so labels are compared as they are
        bare = Logs({name: table for name, table in good.tables.items() if not name.startswith("retrieval_labels")})
        with _folders() as (source, quarantine, _):
            times = Window.of_days(self._days)
            alone = inspect(bare.write(source), quarantine, self._params, times)
        return _sequences(found) == _sequences(alone) and _labels_of(found) == labels

    def _validator(self) -> WindowValidator:
        return WindowValidator(self._params, WindowParams(), self._days, self._history)


def dated_logs(items: pa.Table, interactions: pa.Table, days: Days, requests: int = 40) -> Logs:
    """Sound logs in daily partitions, with retrieval labels made from the nearest neighbours of random anchors.

    Args:
        items: the table `items`.
        interactions: with `timestamp`, ordered by it.
        days: the days to take.
        requests: labelled lists a day.
    """
    tables = {ITEMS: items}
    known = pc.is_in(interactions["item_id"], value_set=items["item_id"].combine_chunks())
    rows = interactions.filter(known).to_pandas().drop_duplicates()
    day_of = rows["timestamp"].to_numpy("datetime64[us]").astype(np.int64) // DAY
    vectors = np.stack(items["embedding"].to_numpy(zero_copy_only=False))
    for day in days.each():
        chosen = rows[day_of == (day - date(1970, 1, 1)).days]
        if len(chosen):
            schema = interactions.schema.remove_metadata()
            part = pa.Table.from_pandas(chosen, schema=schema, preserve_index=False).replace_schema_metadata(None)
            tables[f"interactions/date={day}/part.parquet"] = part
            tables[f"retrieval_labels/date={day}/part.parquet"] = _labels(items, vectors, day, requests)
    return Logs(tables)


def _labels(items: pa.Table, vectors: np.ndarray, day: date, requests: int) -> pa.Table:
    rng = np.random.default_rng(day.toordinal())
    domains = [name.removeprefix("attr_") for name in items.column_names if name.startswith("attr_")]
    ids = np.array(items["item_id"].to_pylist())
    anchors = rng.choice(len(ids), requests, replace=False)
    nearest = np.argsort(-(vectors[anchors] @ vectors.T), axis=1)[:, 1 : _LIST + 1]
    domain = rng.integers(0, len(domains), requests)
    verdicts = np.stack([items[f"attr_{name}"].to_numpy(zero_copy_only=False).astype(bool) for name in domains])
    noon = datetime.combine(day, time(12))
    times = [noon + timedelta(seconds=int(second)) for second in rng.integers(0, 3_600, requests)]
    columns = {
        "request_id": pa.array([f"{day}-{number}" for number in range(requests) for _ in range(_LIST)]),
        "timestamp": pa.array([moment for moment in times for _ in range(_LIST)], pa.timestamp("us")),
        "domain": pa.array(np.repeat(np.array(domains)[domain], _LIST).tolist()),
        "anchor_item_id": pa.array(np.repeat(ids[anchors], _LIST).tolist()),
        "rank": pa.array(np.tile(np.arange(1, _LIST + 1), requests)),
        "item_id": pa.array(ids[nearest.ravel()].tolist()),
        "label": pa.array(verdicts[np.repeat(domain, _LIST), nearest.ravel()]),
    }
    return pa.table(columns)


@contextmanager
def _folders() -> Iterator[tuple[Path, Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        source, quarantine, validation = (Path(folder) / name for name in ("logs", "quarantine", "validation"))
        for path in (source, quarantine, validation):
            path.mkdir()
        yield source, quarantine, validation


def _set_aside(quarantine: Path) -> dict[Place, str]:
    caught: dict[Place, str] = {}
    for file in sorted(quarantine.glob("*.parquet")):
        table = pq.read_table(file, columns=["file", "row", "rule"]).to_pydict()
        caught |= {(f, r): rule for f, r, rule in zip(table["file"], table["row"], table["rule"], strict=True)}
    return caught


def _rules_in(message: str) -> tuple[str, ...]:
    return tuple(line.split("rule ")[1].split(" ")[0] for line in message.splitlines() if "rule " in line)


def _sequences(found: Inspection) -> tuple[Any, ...]:
    """Items and sequences, in an order of their own."""
    assert found.interactions is not None  # a refused window has none
    rows, ids = found.interactions.rows, found.items.item_ids
    sequences = [ids[rows.item[start:end]].tolist() for start, end in itertools.pairwise(rows.offsets)]
    return ids.tolist(), found.items.embeddings.tobytes(), sorted(tuple(each) for each in sequences if each)


def _labels_of(found: Inspection) -> list[tuple[Any, ...]]:
    assert found.labels is not None  # the logs of a trial have labels
    table = found.labels.rows.to_pydict()
    for column in ("anchor", "item"):
        table[column] = found.items.item_ids[table[column]].tolist()
    table["timestamp"] = [moment.replace(tzinfo=None) for moment in table["timestamp"]]
    return sorted(zip(*table.values(), strict=True))
