"""From an input folder to a catalogue, a quarantine and the measurements that the step `validate_logs` judges."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from modit.core.errors import ContractError
from modit.data.catalog import NOT_SCORED, POSITIVE, Catalog, Sequences
from modit.data.engine import Engine
from modit.data.interactions import InteractionCounts, Interactions, read_interactions
from modit.data.items import Items, read_items
from modit.data.judged_queries import BUNDLES, QueryTables, read_queries
from modit.data.labels import RetrievalLabels, read_labels
from modit.data.mapping import Mapping, TableLayout
from modit.data.measurements import Measurement, refuse
from modit.data.params import ValidationParams
from modit.data.problems import breach
from modit.data.rules import RULES
from modit.data.table import Ingest, RowCounts
from modit.data.window import Window

REPORT_NAME = "report.json"


@dataclass(frozen=True)
class Report:
    """What the input held.

    Attributes:
        items: number of items.
        dimension: width of an embedding.
        positives: domain -> number of items with the attribute.
        interactions: what happened to the interaction rows.
        retrieval_labels: rows of retrieval labels, or None where there are none.
        items_quarantined: rule -> rows of items set aside.
        labels: what happened to the retrieval labels, or None where there are none.
        unscored: domain -> number of items without a verdict, where there are any.
        queries: table `queries` or `labels` -> what happened to its rows, where there are judged queries.
    """

    items: int = 0
    dimension: int = 0
    positives: dict[str, int] = field(default_factory=dict)
    interactions: InteractionCounts = field(default_factory=InteractionCounts)
    retrieval_labels: int | None = None
    items_quarantined: dict[str, int] = field(default_factory=dict)
    labels: RowCounts | None = None
    unscored: dict[str, int] = field(default_factory=dict)
    queries: dict[str, RowCounts] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, RowCounts]:
        """What happened to the rows of each table."""
        set_aside = sum(self.items_quarantined.values())
        tables = {
            "items": RowCounts(self.items + set_aside, 0, self.items_quarantined, self.items),
            "interactions": self.interactions,
        }
        return tables | ({"retrieval_labels": self.labels} if self.labels else {}) | self.queries

    @property
    def quarantined(self) -> dict[str, dict[str, int]]:
        """Table -> rule -> rows set aside."""
        return {table: counts.quarantined for table, counts in self.tables.items() if counts.quarantined}

    def save(self, folder: Path) -> None:
        """Writes `report.json`: the counts, and what each rule of the quarantine means."""
        content = asdict(self)
        content["rules"] = {rule: RULES[rule].meaning for counts in self.quarantined.values() for rule in counts}
        (folder / REPORT_NAME).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


@dataclass
class Inspection:
    """What was found in a window. Later tables are missing where the items are past their limits: nothing fits to them.

    Attributes:
        measurements: one for each rule that was measured.
        items: the good items.
        interactions: the good interactions; without rows where the input has no such table.
        labels: the good retrieval labels, or None.
        queries: the good queries with their labels, or None.
    """

    measurements: list[Measurement]
    items: Items
    interactions: Interactions | None = None
    labels: RetrievalLabels | None = None
    queries: QueryTables | None = None

    @property
    def layouts(self) -> list[TableLayout]:
        """The tables as they were understood."""
        tables = (self.items, self.interactions, self.labels)
        found = [table.layout for table in tables if table and table.layout]
        return [*found, *(self.queries.layouts if self.queries else ())]

    @property
    def breached(self) -> list[Measurement]:
        """The measurements outside their ranges."""
        return [each for each in self.measurements if each.is_breached]

    @property
    def catalog(self) -> Catalog:
        """The good rows as a catalogue.

        Raises:
            ContractError: the items are past their limits.
        """
        if self.interactions is None:
            refuse(self.breached)
        sequences = self.interactions.sequences if self.interactions else Sequences.none()
        return Catalog(self.items.item_ids, self.items.embeddings, self.items.verdicts, self.items.titles, sequences)

    @property
    def report(self) -> Report:
        """The counts."""
        verdicts = self.items.verdicts
        unscored = {domain: int((column == NOT_SCORED).sum()) for domain, column in verdicts.items()}
        return Report(
            items=len(self.items.item_ids),
            dimension=int(self.items.embeddings.shape[1]),
            positives={domain: int((column == POSITIVE).sum()) for domain, column in verdicts.items()},
            interactions=self.interactions.counts if self.interactions else InteractionCounts(),
            retrieval_labels=self.labels.counts.rows if self.labels else None,
            items_quarantined=self.items.counts.quarantined,
            labels=self.labels.counts if self.labels else None,
            unscored={domain: count for domain, count in unscored.items() if count},
            queries=self.queries.counts if self.queries else {},
        )


def inspect(
    source: Path,
    quarantine: Path,
    params: ValidationParams,
    window: Window,
    *,
    scratch: Path | None = None,
    memory_gb: float = 4.0,
    mapping: Path | None = None,
    rows_max: int | None = None,
    needs_domains: bool = True,
) -> Inspection:
    """Reads an input folder; bad rows go to the quarantine, and nothing is judged yet.

    Args:
        source: the input folder.
        quarantine: existing folder, gets `TABLE.parquet` with the rows set aside.
        params: section `validate_logs`: how much quarantine is too much.
        window: the part of time to read.
        scratch: existing folder with some 30 bytes of room for each row of interactions; None for the quarantine.
        memory_gb: memory of the step in GiB.
        mapping: the mapping file; None for the one in the input folder, if there is one.
        rows_max: most rows to read of interactions and of retrieval labels; None for all.
        needs_domains: whether items must have verdicts and embeddings; if not, vectors may be made from texts.

    Raises:
        ContractError: a file or column breaks the contract, so that rows cannot be read.
    """
    if not source.is_dir():
        raise ContractError(
            f"{source} is not a folder; an input folder holds items and interactions, "
            "see docs/reference/input-contract.md"
        )
    names = Mapping.load(source, mapping)
    with Engine(scratch or quarantine, memory_gb) as engine:
        ingest = Ingest(source, engine, quarantine, window, params, names, rows_max, needs_domains)
        items = read_items(ingest)
        found = Inspection(list(items.measurements), items)
        if found.breached:
            return found
        found.interactions = Interactions()
        if ingest.file_of("interactions"):
            found.interactions = read_interactions(ingest)
            found.measurements += found.interactions.measurements
        if ingest.file_of("retrieval_labels"):
            found.labels = read_labels(ingest, sorted(items.verdicts))
            found.measurements += found.labels.measurements
        if ingest.file_of("queries") or ingest.file_of(BUNDLES):
            found.queries = read_queries(ingest)
            found.measurements += found.queries.measurements
    return found


def refuse_nothing_to_learn_from(found: Inspection) -> None:
    """Refuses an input with a table of interactions, but without a sequence.

    Raises:
        ContractError: it has none.
    """
    if found.interactions and found.interactions.order and not found.interactions.counts.sequences:
        counts = found.interactions.counts
        in_window = counts.rows - counts.outside_window
        detail = f"{counts.rows} rows, {in_window} in the window, {counts.short_sequences_dropped} sequences too short"
        raise breach("interactions_not_empty", "interactions.parquet", detail=detail)


def validate_logs(
    source: Path,
    quarantine: Path,
    params: ValidationParams | None = None,
    window: Window | None = None,
    needs_domains: bool = True,
) -> tuple[Catalog, Report]:
    """Reads an input folder against the contract, without history, drift or data docs.

    Args:
        source: the input folder.
        quarantine: existing folder, gets `TABLE.parquet` with the rows set aside.
        params: section `validate_logs`: how much quarantine is too much; its defaults if None.
        window: the part of time to read; all of it if None.
        needs_domains: as in `inspect`.

    Raises:
        ContractError: the input breaks the contract; the message names file, column, row and rule.
    """
    found = inspect(source, quarantine, params or ValidationParams(), window or Window(), needs_domains=needs_domains)
    refuse(found.breached)
    refuse_nothing_to_learn_from(found)
    return found.catalog, found.report
