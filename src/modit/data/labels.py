"""Reads the table of retrieval labels; rows and requests that break a rule go to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from modit.data.catalog import RETRIEVAL_LABEL_SCHEMA
from modit.data.contract import LABEL_COLUMNS, literal
from modit.data.mapping import TableLayout
from modit.data.measurements import Measurement
from modit.data.rules import REQUEST_CHECKS, first_broken, label_checks
from modit.data.table import Ingest, RowCounts, Table


@dataclass(frozen=True)
class RetrievalLabels:
    """What the table `retrieval_labels` gave.

    Attributes:
        rows: the good rows, with rows of the catalogue instead of ids: `modit.data.catalog.RETRIEVAL_LABEL_SCHEMA`.
            Requests come in the order of the input, the rows of each by rank.
        counts: what happened to the rows.
        measurements: one for each rule that was measured.
        layout: the table as it was understood.
    """

    rows: pa.Table
    counts: RowCounts
    measurements: list[Measurement]
    layout: TableLayout


def read_labels(ingest: Ingest, domains: list[str]) -> RetrievalLabels:
    """Reads and checks `retrieval_labels`: rows one by one, then among the rows of their request.

    Raises:
        ContractError: the columns are not those of the contract, or a file cannot be read.
    """
    table, engine = Table("retrieval_labels", ingest), ingest.engine
    row_checks = label_checks(ingest.window.overlap_days)
    with table.decoding():
        engine.run(
            "CREATE OR REPLACE TABLE staged_labels AS SELECT * EXCLUDE (part, day, has_unknown_day), "
            f"{first_broken(row_checks)} AS broken {table.rows_in_window()}"
        )
    for statement in (_known(domains), _DELIVERED, _MISSING_RANKS, _AMONG_REQUESTS):
        engine.run(statement)
    rows = engine.table(_GOOD).cast(RETRIEVAL_LABEL_SCHEMA)
    values = ", ".join(_AS_TEXT.get(name, name) for name in LABEL_COLUMNS)
    engine.run(
        f"CREATE OR REPLACE TABLE refused_labels AS SELECT pos, broken, {values} FROM staged_labels "
        f"WHERE broken IS NOT NULL UNION ALL SELECT pos, request_broken + {len(row_checks)}, {values} "
        "FROM among_requests WHERE request_broken IS NOT NULL"
    )
    read, in_window = table.count(), engine.value("SELECT count(*) FROM staged_labels")
    checks = [*row_checks, *REQUEST_CHECKS]
    quarantined, measurements = table.set_aside("refused_labels", list(table.layout.columns), checks, in_window)
    counts = RowCounts(read, read - in_window, quarantined, len(rows))
    return RetrievalLabels(rows, counts, measurements, table.layout)


# The values of a row that is set aside, as text: what could not be read is as it was written.
_AS_TEXT = {
    name: f"coalesce({name}_text, CASE WHEN {name} IS NOT NULL THEN {value} END) AS {name}"
    for name, value in {
        "timestamp": "CAST(make_timestamp(timestamp) AS VARCHAR)",
        "rank": "CAST(rank AS VARCHAR)",
        "label": "CASE WHEN label = 1 THEN 'true' ELSE 'false' END",
    }.items()
}


def _known(domains: list[str]) -> str:
    """Table `known_labels`: the rows that are good by themselves, with the rows of anchor and item in the catalogue."""
    names = ", ".join(f"({literal(domain)})" for domain in domains)
    spelled = "CASE WHEN domain IN (SELECT name FROM domains) THEN domain ELSE "
    spelled += "trim(regexp_replace(lower(domain), '[^a-z0-9]+', '_', 'g'), '_') END"
    return (
        f"CREATE OR REPLACE TABLE known_labels AS WITH domains (name) AS (VALUES {names}) "
        "SELECT labels.*, domains.name AS domain_name, anchors.item AS anchor, found.item "
        "FROM staged_labels AS labels "
        f"LEFT JOIN domains ON domains.name = {spelled} "
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
_AMONG_REQUESTS = f"""
CREATE OR REPLACE TABLE among_requests AS SELECT *, {first_broken(REQUEST_CHECKS)} AS request_broken FROM (SELECT *,
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
) WINDOW request AS (PARTITION BY request_id))
"""
_GOOD = """
SELECT request_id, make_timestamptz(timestamp) AS timestamp, domain_name AS domain, anchor, rank, item,
    CAST(label AS BOOLEAN) AS label
FROM among_requests JOIN (SELECT request_id, min(pos) AS first_pos FROM among_requests GROUP BY request_id)
    USING (request_id)
WHERE request_broken IS NULL ORDER BY first_pos, rank, pos
"""
