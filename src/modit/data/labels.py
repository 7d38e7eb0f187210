"""Reads the table of retrieval labels; rows and lists that break a rule go to the quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.data.codes import Codes, encoded, ordered_by, repeats
from modit.data.contract import LABEL_COLUMNS, check_labels
from modit.data.facts import Fact
from modit.data.params import ValidationParams
from modit.data.parts import Part, find_parts, stream
from modit.data.positions import Positions
from modit.data.quarantine import COLUMNS, Quarantine
from modit.data.tolerance import allowed_of_labels
from modit.data.window import TimeRules, microseconds

BATCH_ROWS = 1 << 18
_TEXTS = ("request_id", "domain", "anchor_item_id", "item_id")


@dataclass(frozen=True)
class Labels:
    """The good rows, sorted by request and rank; numbers instead of words.

    Attributes:
        request: int32 [T].
        time: int64 [T], microseconds.
        domain: int32 [T], place in the sorted domains of the catalogue.
        anchor: int32 [T], row of the catalogue.
        rank: int64 [T], from 1.
        item: int32 [T], row of the catalogue.
        label: bool [T].
    """

    request: np.ndarray
    time: np.ndarray
    domain: np.ndarray
    anchor: np.ndarray
    rank: np.ndarray
    item: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.request)

    def take(self, chosen: np.ndarray) -> Labels:
        """The rows under an index or a mask."""
        return Labels(*(column[chosen] for column in vars(self).values()))


@dataclass
class LabelCounts:
    """What happened to the rows: `rows` = `outside_window` + quarantined + `kept`."""

    rows: int
    outside_window: int
    quarantined: dict[str, int]
    kept: int


@dataclass(frozen=True)
class RetrievalLabels:
    """What the table `retrieval_labels` gave.

    Attributes:
        labels: the good rows.
        request_ids: the word of each request.
        counts: what happened to the rows.
        facts: one for each rule on rows.
    """

    labels: Labels
    request_ids: pa.Array
    counts: LabelCounts
    facts: list[Fact]

    def as_table(self, item_ids: np.ndarray, domains: list[str]) -> pa.Table:
        """The good rows in the columns of the contract."""
        rows, words = self.labels, pa.array(item_ids.tolist(), pa.string())
        columns = {
            "request_id": self.request_ids.take(pa.array(rows.request)).cast(pa.string()),
            "timestamp": pa.array(rows.time, pa.timestamp("us", tz="UTC")),
            "domain": pa.array(domains, pa.string()).take(pa.array(rows.domain)),
            "anchor_item_id": words.take(pa.array(rows.anchor)),
            "rank": pa.array(rows.rank, pa.int32()),
            "item_id": words.take(pa.array(rows.item)),
            "label": pa.array(rows.label),
        }
        return pa.table(columns)


def read_labels(
    source: Path, item_ids: np.ndarray, domains: list[str], quarantine: Path, times: TimeRules, params: ValidationParams
) -> RetrievalLabels:
    """Reads and checks `retrieval_labels`.

    Args:
        source: the input folder.
        item_ids: unicode [N], the ids of the catalogue.
        domains: of the catalogue, sorted.
        quarantine: folder for the rows that break a rule.
        times: the part of time to read, and what a row's time must look like.
        params: section `validate_logs`: how much quarantine is too much.

    Raises:
        ContractError: the schema is wrong.
    """
    all_parts = find_parts(source, "retrieval_labels")
    check_labels(all_parts)
    parts = [part for part in all_parts if times.window.holds_part(part)]
    with Quarantine(quarantine, "retrieval_labels", COLUMNS["retrieval_labels"]) as aside:
        reader = _LabelReader(parts, times, aside)
        labels, request_ids = reader.read(item_ids, domains)
    rows = sum(part.rows for part in parts)
    counts = LabelCounts(rows, reader.outside_window, aside.counts, len(labels))
    facts = aside.facts(allowed_of_labels(params), rows - reader.outside_window)
    return RetrievalLabels(labels, request_ids, counts, facts)


class _LabelReader:
    """Reads parts, first row by row, then list by list."""

    def __init__(self, parts: list[Part], times: TimeRules, aside: Quarantine) -> None:
        self.outside_window = 0
        self._parts, self._times, self._aside = parts, times, aside
        self._codes = {name: Codes() for name in _TEXTS}
        self._numbers: dict[str, list[np.ndarray]] = {name: [] for name in ("timestamp", "rank", "label")}
        self._positions = Positions([part.rows for part in parts])
        # request, anchor and time of rows that were set aside one by one: they leave no hole in their list
        self._delivered: list[tuple[str | None, str | None, int]] = []

    def read(self, item_ids: np.ndarray, domains: list[str]) -> tuple[Labels, pa.Array]:
        """The good rows, and the word of each request."""
        for number, part in enumerate(self._parts):
            groups, seen = self._times.window.row_groups(part), 0
            for start, batch in stream(part, list(LABEL_COLUMNS), BATCH_ROWS, groups, _TEXTS):
                self._take(number, start, batch)
                seen += batch.num_rows
            self.outside_window += part.rows - seen
        words = {name: codes.finish() for name, codes in self._codes.items()}
        known = pa.array(item_ids.tolist(), pa.large_string())
        maps = {
            "domain": _places(words["domain"][1], pa.array(domains, pa.large_string())),
            "anchor_item_id": _places(words["anchor_item_id"][1], known),
            "item_id": _places(words["item_id"][1], known),
        }
        raw = {name: codes for name, (codes, _) in words.items()}
        time, rank, label = (np.concatenate([np.zeros(0, np.int64), *self._numbers[name]]) for name in self._numbers)
        domain, anchor, item = (maps[name][raw[name]] for name in maps)
        rows = Labels(raw["request_id"], time, domain, anchor, rank, item, label.astype(bool))
        good = self._good(rows, words, raw)
        return rows.take(good), words["request_id"][1]

    def _good(
        self, rows: Labels, words: dict[str, tuple[np.ndarray, pa.Array]], raw: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Places of the good rows, sorted by request and rank."""
        order = ordered_by(rows.request, rows.rank)
        kept = np.ones(len(rows), dtype=bool)
        for rule, column, bad in self._breaches(rows.take(order), words, raw["anchor_item_id"][order]):
            caught = np.sort(order[bad & kept])
            for number, chosen, file_rows in self._positions.files(caught):
                here = caught[chosen]
                values = {name: words[name][1].take(pa.array(raw[name][here])) for name in _TEXTS}
                values["timestamp"] = pa.array(rows.time[here], pa.timestamp("us"))
                values["rank"], values["label"] = pa.array(rows.rank[here]), pa.array(rows.label[here])
                self._aside.add(rule, self._parts[number].name, file_rows, values, column)
            kept &= ~bad
        return order[kept]

    def _breaches(
        self, rows: Labels, words: dict[str, tuple[np.ndarray, pa.Array]], raw_anchor: np.ndarray
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yields (rule, column, bool [T]) over rows sorted by request and rank, ties in the order of the input."""
        yield "unknown_label_domain", "domain", rows.domain < 0
        yield "unknown_label_item", "anchor_item_id", rows.anchor < 0
        yield "unknown_label_item", "item_id", rows.item < 0
        yield "rank_positive", "rank", rows.rank < 1
        for column in ("time", "domain", "anchor"):
            name = {"time": "timestamp", "anchor": "anchor_item_id"}.get(column, column)
            values = raw_anchor if column == "anchor" else getattr(rows, column)
            yield "one_anchor_per_request", name, _differs_from_most(rows.request, values)
        twice = np.zeros(len(rows), dtype=bool)
        if len(rows) > 1:
            twice[1:] = (rows.request[1:] == rows.request[:-1]) & (rows.rank[1:] == rows.rank[:-1])
        yield "duplicate_label", "rank", twice
        again = repeats((rows.request,), np.maximum(rows.item, 0)) if len(rows) else None
        if again is not None:
            yield "duplicate_label", "item_id", again & (rows.item >= 0)
        yield (
            "rank_contiguous",
            "rank",
            self._with_holes(rows, words["request_id"][1], words["anchor_item_id"][1], raw_anchor),
        )

    def _with_holes(self, rows: Labels, request_ids: pa.Array, words: pa.Array, raw_anchor: np.ndarray) -> np.ndarray:
        """Rows of requests with a rank that was not delivered; a row that was set aside was delivered."""
        requests = len(request_ids)
        delivered = np.bincount(rows.request, minlength=requests)
        for request in self._requests_of_set_aside(rows, request_ids, words, raw_anchor):
            delivered[request] += 1
        greatest = np.zeros(requests, np.int64)
        np.maximum.at(greatest, rows.request, rows.rank)
        return (delivered < greatest)[rows.request]

    def _requests_of_set_aside(
        self, rows: Labels, request_ids: pa.Array, anchors: pa.Array, raw_anchor: np.ndarray
    ) -> Iterator[int]:
        if not self._delivered:
            return
        by_word = {word: number for number, word in enumerate(request_ids.to_pylist())}
        pairs = zip(anchors.take(pa.array(raw_anchor)).to_pylist(), rows.time.tolist(), strict=True)
        by_anchor = dict(zip(pairs, rows.request.tolist(), strict=True))
        for word, anchor, time in self._delivered:
            request = by_word.get(word) if word is not None else by_anchor.get((anchor, time))
            if request is not None:
                yield request

    def _take(self, number: int, start: int, batch: pa.RecordBatch) -> None:
        part, kept = self._parts[number], np.ones(batch.num_rows, dtype=bool)
        moment = batch["timestamp"]
        key = microseconds(moment)
        valid = moment.is_valid().to_numpy(zero_copy_only=False)
        outside = self._times.outside(part, key, valid)
        if outside is not None:
            self.outside_window += int(outside.sum())
            kept &= ~outside
        nulls = [(name, batch[name]) for name in LABEL_COLUMNS if batch[name].null_count]
        checks = [("null_in_label", name, column.is_null().to_numpy(zero_copy_only=False)) for name, column in nulls]
        checks += [(rule, "timestamp", bad) for rule, bad in self._times.breaches(part, key)]
        for rule, column, bad in checks:
            caught = pa.array(np.flatnonzero(bad & kept))
            if len(caught):
                values = {name: batch[name].take(caught) for name in LABEL_COLUMNS}
                self._aside.add(rule, part.name, start + caught.to_numpy(), values, column)
                words = (values[name].cast(pa.string()).to_pylist() for name in ("request_id", "anchor_item_id"))
                self._delivered += zip(*words, key[caught.to_numpy()].tolist(), strict=True)
            kept &= ~bad
        rows = None if kept.all() else np.flatnonzero(kept)
        good = batch if rows is None else batch.take(pa.array(rows))
        for name, codes in self._codes.items():
            codes.add(encoded(good[name]))
        self._numbers["timestamp"].append(key if rows is None else key[rows])
        self._numbers["rank"].append(good["rank"].cast(pa.int64()).to_numpy())
        self._numbers["label"].append(good["label"].to_numpy(zero_copy_only=False).astype(np.int64))
        self._positions.add(number, start, batch.num_rows, rows)


def _places(words: pa.Array, among: pa.Array) -> np.ndarray:
    return pc.index_in(words, value_set=among).fill_null(-1).to_numpy().astype(np.int32)


def _differs_from_most(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bool [T], rows whose value is not the one that most rows of their group have (of equals, the smallest)."""
    differs = np.zeros(len(group), dtype=bool)
    if not len(group):
        return differs
    change = (group[1:] == group[:-1]) & (values[1:] != values[:-1])
    if not change.any():
        return differs
    mixed = np.zeros(int(group.max()) + 1, dtype=bool)
    mixed[group[1:][change]] = True
    rows = np.flatnonzero(mixed[group])
    order = rows[np.lexsort((values[rows], group[rows]))]
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(group[order]) != 0) | (np.diff(values[order]) != 0)]))
    sizes = np.diff([*starts, len(order)])
    best: dict[int, tuple[int, int]] = {}
    for begin, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        number, value = int(group[order[begin]]), int(values[order[begin]])
        if number not in best or size > best[number][0]:
            best[number] = (size, value)
    differs[rows] = [best[int(group[row])][1] != int(values[row]) for row in rows]
    return differs
