"""Reads the table of retrieval labels; rows and requests that break a rule go to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modit.data.catalog import RETRIEVAL_LABEL_SCHEMA
from modit.data.contract import literal
from modit.data.mapping import TableLayout
from modit.data.measurements import Measurement
from modit.data.quarantine import SetAside
from modit.data.rules import REQUEST_CHECKS, first_broken, label_checks
from modit.data.table_job import TableJob


@dataclass(frozen=True)
class Labels:
    """The good rows, sorted by request and rank; numbers instead of ids.

    Attributes:
        request: int32 [T], requests numbered in the order of the input.
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
        request_ids: the id of each request.
        counts: what happened to the rows.
        measurements: one for each rule on rows.
        layout: the table as it was understood.
    """

    labels: Labels
    request_ids: pa.Array
    counts: LabelCounts
    measurements: list[Measurement]
    layout: TableLayout

    def as_table(self, domains: list[str]) -> pa.Table:
        """The good rows in the columns of `modit.data.catalog.RETRIEVAL_LABEL_SCHEMA`."""
        rows = self.labels
        columns = [
            self.request_ids.take(pa.array(rows.request)),
            pa.array(rows.time, pa.timestamp("us", tz="UTC")),
            pa.array(domains, pa.string()).take(pa.array(rows.domain)),
            pa.array(rows.anchor, pa.int32()),
            pa.array(rows.rank, pa.int32()),
            pa.array(rows.item, pa.int32()),
            pa.array(rows.label),
        ]
        return pa.Table.from_arrays(columns, schema=RETRIEVAL_LABEL_SCHEMA)


def read_labels(job: TableJob, domains: list[str]) -> RetrievalLabels:
    """Reads and checks `retrieval_labels`.

    Args:
        job: what to read, and how.
        domains: of the catalogue, sorted.

    Raises:
        ContractError: the columns are not those of the contract, or a file cannot be read.
    """
    return _Reader(job.understand("retrieval_labels"), job).read(domains)


class _Reader:
    """Checks rows one by one, then among the rows of their request."""

    def __init__(self, layout: TableLayout, job: TableJob) -> None:
        self._layout, self._job, self._engine = layout, job, job.engine
        self._files = job.files(layout)
        self._row_checks = label_checks(job.times.overlap_days)

    def read(self, domains: list[str]) -> RetrievalLabels:
        self._job.stage(
            self._layout,
            self._files,
            "CREATE OR REPLACE TABLE staged_labels AS SELECT * EXCLUDE (part, day, has_unknown_day), "
            f"{first_broken(self._row_checks)} AS broken {self._job.scan(self._layout, self._files)}",
        )
        for statement in (_known(domains), _DELIVERED, _MISSING_RANKS, _AMONG_REQUESTS):
            self._engine.run(statement)
        broken = f"{first_broken(REQUEST_CHECKS)} + {len(self._row_checks)}"
        self._engine.run(
            "CREATE OR REPLACE TABLE checked_labels AS "
            f"SELECT * EXCLUDE (broken), {broken} AS broken FROM among_requests"
        )
        labels, request_ids = self._good()
        in_window = self._engine.value("SELECT count(*) FROM staged_labels")
        aside = self._set_aside(in_window)
        rows = self._job.count(self._files)
        counts = LabelCounts(rows, rows - in_window, aside.counts, len(labels))
        return RetrievalLabels(labels, request_ids, counts, aside.measurements, self._layout)

    def _good(self) -> tuple[Labels, pa.Array]:
        self._engine.run(
            "CREATE OR REPLACE TABLE requests AS "
            "SELECT request_id, CAST(row_number() OVER (ORDER BY min(pos)) - 1 AS INTEGER) AS request "
            "FROM checked_labels GROUP BY request_id"
        )
        columns = self._engine.arrays(
            "SELECT request, timestamp AS time, domain_number AS domain, anchor, rank, item, label "
            "FROM checked_labels JOIN requests USING (request_id) WHERE broken IS NULL ORDER BY request, rank, pos"
        )
        kinds = (np.int32, np.int64, np.int32, np.int32, np.int64, np.int32, bool)
        labels = Labels(*(column.astype(kind) for column, kind in zip(columns.values(), kinds, strict=True)))
        ids = [request for (request,) in self._engine.rows("SELECT request_id FROM requests ORDER BY request")]
        return labels, pa.array(ids, pa.string())

    def _set_aside(self, in_window: int) -> SetAside:
        values = {
            "timestamp": "CAST(make_timestamp(timestamp) AS VARCHAR)",
            "rank": "CAST(rank AS VARCHAR)",
            "label": "CASE WHEN label = 1 THEN 'true' ELSE 'false' END",
        }
        parsed = ", ".join(
            f"coalesce({name}_text, CASE WHEN {name} IS NOT NULL THEN {value} END) AS {name}"
            for name, value in values.items()
        )
        columns = f"pos, broken, request_id, {parsed}, domain, anchor_item_id, item_id"
        self._engine.run(
            f"CREATE OR REPLACE TABLE refused_labels AS SELECT {columns} FROM staged_labels WHERE broken IS NOT NULL "
            f"UNION ALL SELECT {columns} FROM checked_labels WHERE broken IS NOT NULL"
        )
        checks = [*self._row_checks, *REQUEST_CHECKS]
        return self._job.set_aside(self._layout, self._files, checks, "refused_labels", in_window)


def _known(domains: list[str]) -> str:
    """Table `known_labels`: the rows that are good by themselves, with the numbers of domain, anchor and item."""
    numbered = ", ".join(f"({literal(domain)}, {number})" for number, domain in enumerate(domains))
    names = "CASE WHEN domain IN (SELECT name FROM domains) THEN domain ELSE "
    names += "trim(regexp_replace(lower(domain), '[^a-z0-9]+', '_', 'g'), '_') END"
    return (
        f"CREATE OR REPLACE TABLE known_labels AS WITH domains (name, number) AS (VALUES {numbered}) "
        "SELECT labels.*, domains.number AS domain_number, anchors.item AS anchor, found.item "
        "FROM staged_labels AS labels "
        f"LEFT JOIN domains ON domains.name = {names} "
        "LEFT JOIN items AS anchors ON anchors.item_id = labels.anchor_item_id "
        "LEFT JOIN items AS found ON found.item_id = labels.item_id "
        "WHERE labels.broken IS NULL"
    )


# Every row that was delivered, with its request: that of its anchor and time where it has no id.
_DELIVERED = """
CREATE OR REPLACE TABLE delivered AS
SELECT coalesce(staged.request_id, other.request_id) AS request_id, staged.rank
FROM staged_labels AS staged LEFT JOIN (
    SELECT anchor_item_id, timestamp, min(request_id) AS request_id FROM known_labels GROUP BY ALL
) AS other ON staged.request_id IS NULL AND other.anchor_item_id = staged.anchor_item_id
    AND other.timestamp = staged.timestamp
"""
# Ranks from 1 to a request's greatest that no row has. A row without a readable rank may have been any of them.
_MISSING_RANKS = """
CREATE OR REPLACE TABLE missing_ranks AS
SELECT request_id, greatest - count(DISTINCT delivered.rank) FILTER (delivered.rank BETWEEN 1 AND greatest)
    - count(*) FILTER (delivered.rank IS NULL) AS missing_ranks
FROM delivered JOIN (SELECT request_id, max(rank) AS greatest FROM known_labels GROUP BY request_id) USING (request_id)
GROUP BY request_id, greatest
"""
# Each row beside the others of its request. What is usual is what most rows have, of equals what came first.
_AMONG_REQUESTS = """
CREATE OR REPLACE TABLE among_requests AS
SELECT *,
    first_value(timestamp) OVER (request ORDER BY rows_timestamp DESC, first_timestamp, pos) AS usual_timestamp,
    first_value(domain) OVER (request ORDER BY rows_domain DESC, first_domain, pos) AS usual_domain,
    first_value(anchor_item_id) OVER (request ORDER BY rows_anchor DESC, first_anchor, pos) AS usual_anchor
FROM (
    SELECT *,
        row_number() OVER (PARTITION BY request_id, rank ORDER BY pos) AS times_rank,
        row_number() OVER (PARTITION BY request_id, item ORDER BY rank, pos) AS times_item,
        count(*) OVER by_timestamp AS rows_timestamp, min(pos) OVER by_timestamp AS first_timestamp,
        count(*) OVER by_domain AS rows_domain, min(pos) OVER by_domain AS first_domain,
        count(*) OVER by_anchor AS rows_anchor, min(pos) OVER by_anchor AS first_anchor
    FROM known_labels JOIN missing_ranks USING (request_id)
    WINDOW by_timestamp AS (PARTITION BY request_id, timestamp), by_domain AS (PARTITION BY request_id, domain),
        by_anchor AS (PARTITION BY request_id, anchor_item_id)
) WINDOW request AS (PARTITION BY request_id)
"""
