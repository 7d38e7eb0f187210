"""Answered requests as `retrieval_labels` of the input contract, so that tonight's labels can come from them.

A list of labels says what the production index returns for *one item*, its anchor. What a request is answered with is
not that: its query is generated to lie where the attribute is dense, and labels from there would teach the density
predictor that it is dense around the seeds. So a request is logged as the list of one of its seeds, which a thread of
the log asks the same index for (docs/adr/0029).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.data.contract import LABEL_SCHEMA
from modit.index.exact import search_threads
from modit.inference.items import Items
from modit.release.bundle.release import SeedsRelease
from modit.serve.metrics import LOGGED

TABLE = "retrieval_labels"
# Results that the index is asked for, in K of the version: `label_anchors` drops held-out items, then uses K.
_LISTED = 3
_WAITING, _LISTS = 1_000, 2_000
_STOP_SECONDS = 10.0

_logger = logging.getLogger(__name__)


class LoggedRequest(NamedTuple):
    """An answered request.

    Attributes:
        request_id: no other has it.
        time: when it was asked.
        anchors: seeds that the index has: id and row.
        release: that answered.
    """

    request_id: str
    time: datetime
    anchors: list[tuple[str, int]]
    release: SeedsRelease


class RequestLog(threading.Thread):
    """Writes answered requests as labels, in a thread of its own. `add` never waits and never fails."""

    def __init__(self, uri: str, seconds: float = 300.0, lists_a_second: float = 5.0) -> None:
        """Checks where to write; `start` begins.

        Args:
            uri: an input folder: a path or an address such as `s3://bucket/prefix`.
            seconds: between two files.
            lists_a_second: that the index is asked for at most; a search takes time from those of requests.

        Raises:
            ConfigError: the folder has its labels in one file, beside which there can be no other.
        """
        super().__init__(name="request log", daemon=True)
        self._storage, self._seconds, self._pause = Storage(uri), seconds, 1 / lists_a_second
        single = f"{self._storage.root}/{TABLE}.parquet"
        if self._storage.filesystem.isfile(single):
            raise ConfigError(f"--log-requests {uri}: {single} is there; allowed: a folder {TABLE}/ or none yet")
        self._asked: queue.Queue[LoggedRequest | None] = queue.Queue(_WAITING)
        self._lists: list[tuple[date, pa.Table]] = []
        self._stopped = threading.Event()
        self._day, self._known = date.min, set[tuple[str, str, str]]()

    def add(self, asked: LoggedRequest) -> None:
        """Queues a request, unless too many are waiting."""
        try:
            self._asked.put_nowait(asked)
        except queue.Full:
            LOGGED.labels("dropped").inc()

    def run(self) -> None:
        """Until `stop`."""
        search_threads(1)
        due = time.monotonic() + self._seconds
        while not self._stopped.is_set():
            try:
                if asked := self._asked.get(timeout=max(0.0, due - time.monotonic())):
                    self._take(asked)
            except queue.Empty:
                pass
            if time.monotonic() >= due or len(self._lists) >= _LISTS:
                self._flush()
                due = time.monotonic() + self._seconds
        self._flush()

    def stop(self) -> None:
        """Writes the lists that are there, not those that still wait; some seconds at most."""
        self._stopped.set()
        with suppress(queue.Full):  # then it is not asleep
            self._asked.put_nowait(None)
        self.join(_STOP_SECONDS)

    def _take(self, asked: LoggedRequest) -> None:
        try:
            found = self._list_of(asked)
        except Exception as error:  # whatever is wrong with one request, the next one is logged
            LOGGED.labels("failed").inc()
            _logger.warning("request %s is not logged: %s: %s", asked.request_id, type(error).__name__, error)
        else:
            if found is None:
                LOGGED.labels("known").inc()
            else:
                self._lists.append((asked.time.astimezone(UTC).date(), found))
                self._stopped.wait(self._pause)

    def _list_of(self, asked: LoggedRequest) -> pa.Table | None:
        """The list of the first anchor that has none of today; None if there is no such anchor, or nothing to label by.

        Items that were not scored are left out: a list says of each item whether it has the attribute.
        """
        items, domain = asked.release.items, asked.release.source.domain
        verdicts = items.verdicts(domain)
        if verdicts is None:
            return None
        if self._day != (today := asked.time.date()):
            self._day, self._known = today, set()
        digest = items.digests[0]
        anchor = next((each for each in asked.anchors if (digest, domain, each[0]) not in self._known), None)
        if anchor is None:
            return None
        self._known.add((digest, domain, anchor[0]))
        rows = _neighbours(items, anchor[1], _LISTED * asked.release.depth)
        labels = verdicts.take(pa.array(rows)).combine_chunks()
        scored = labels.is_valid()
        rows, labels = rows[scored.to_numpy(zero_copy_only=False)], labels.filter(scored)
        return _label_table(asked, anchor[0], items.ids_of(rows), labels)

    def _flush(self) -> None:
        """A file for each day that there are lists of. What cannot be written waits, as long as there is room."""
        for day in sorted({day for day, _ in self._lists}):
            lists = [found for of, found in self._lists if of == day]
            name = f"{TABLE}/date={day}/part-{datetime.now(UTC):%H%M%S}-{uuid.uuid4().hex[:12]}.parquet"
            try:
                sink = pa.BufferOutputStream()
                pq.write_table(pa.concat_tables(lists), sink)
                self._storage.write_bytes(name, sink.getvalue().to_pybytes())
            except Exception as error:  # the place may be away for a while, in as many ways as there are places
                _logger.warning("%s/%s is not written: %s: %s", self._storage.uri, name, type(error).__name__, error)
                lost = max(0, len(self._lists) - _LISTS // 2)
                del self._lists[:lost]
                LOGGED.labels("failed").inc(lost)
                return
            self._lists = [(of, found) for of, found in self._lists if of != day]
            LOGGED.labels("written").inc(len(lists))


def _neighbours(items: Items, row: int, count: int) -> np.ndarray:
    """Rows of the nearest other items, int64 [n], n <= count."""
    own, index = np.array([row]), items.index
    depth = min(count, len(index) - 1)
    found = index.search(np.asarray(items.embeddings[own], np.float32), depth, exclude=own[None]).rows[0]
    return found[found >= 0]


def _label_table(asked: LoggedRequest, anchor: str, item_ids: list[str], labels: pa.Array) -> pa.Table:
    """A list in the columns of the input contract."""
    count, types = len(item_ids), LABEL_SCHEMA.types
    of_all = (asked.request_id, asked.time, asked.release.source.domain, anchor)
    columns = [pa.repeat(pa.scalar(value, kind), count) for value, kind in zip(of_all, types[:4], strict=True)]
    columns += [pa.array(np.arange(1, count + 1), types[4]), pa.array(item_ids, types[5]), labels]
    return pa.Table.from_arrays(columns, schema=LABEL_SCHEMA)
