"""From an input folder to a catalogue, a quarantine and the measurements that the step `validate_logs` judges."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from modit.core.errors import ContractError
from modit.data.catalog import NOT_SCORED, POSITIVE, Catalog, Sequences
from modit.data.engine import Engine
from modit.data.files import has_table
from modit.data.interactions import InteractionCounts, Interactions, read_interactions
from modit.data.items import Items, read_items
from modit.data.labels import LabelCounts, RetrievalLabels, read_labels
from modit.data.mapping import Mapping, TableLayout
from modit.data.measurements import Measurement, contract_measurements, refuse
from modit.data.params import ValidationParams
from modit.data.problems import ProblemLog
from modit.data.rules import RULES
from modit.data.table_job import TableJob
from modit.data.window import TimeRules, Window

REPORT_NAME = "report.json"


@dataclass(frozen=True)
class Report:
    """What the input held.

    Attributes:
        items: number of items.
        dimension: width of an embedding.
        positives: domain -> number of items with the attribute.
        unscored: domain -> number of items without a verdict, where there are any.
        interactions: what happened to the interaction rows.
        retrieval_labels: rows of retrieval labels, or None where there are none.
        items_quarantined: rule -> rows of items set aside.
        labels: what happened to the retrieval labels, or None where there are none.
    """

    items: int
    dimension: int
    positives: dict[str, int]
    interactions: InteractionCounts
    retrieval_labels: int | None
    items_quarantined: dict[str, int] = field(default_factory=dict)
    labels: LabelCounts | None = None
    unscored: dict[str, int] = field(default_factory=dict)

    @property
    def quarantined(self) -> dict[str, dict[str, int]]:
        """Table -> rule -> rows set aside."""
        labels = self.labels.quarantined if self.labels else {}
        tables = {
            "items": self.items_quarantined,
            "interactions": self.interactions.quarantined,
            "retrieval_labels": labels,
        }
        return {table: counts for table, counts in tables.items() if counts}

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
        layouts: the tables as they were understood.
    """

    measurements: list[Measurement]
    items: Items
    interactions: Interactions | None = None
    labels: RetrievalLabels | None = None
    layouts: list[TableLayout] = field(default_factory=list)

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
            items_quarantined=self.items.quarantined,
            labels=self.labels.counts if self.labels else None,
            unscored={domain: count for domain, count in unscored.items() if count},
        )


@dataclass(frozen=True)
class ReadOptions:
    """Where and how an input folder is read.

    Attributes:
        scratch: an existing folder with some 30 bytes of room for each row of interactions; None for the quarantine.
        memory_gb: memory of the step in GiB.
        mapping: the mapping file; None for the one in the input folder, if there is one.
        rows_max: most rows to read of interactions and of retrieval labels; None for all.
    """

    scratch: Path | None = None
    memory_gb: float = 4.0
    mapping: Path | None = None
    rows_max: int | None = None


def inspect(
    source: Path, quarantine: Path, params: ValidationParams, times: TimeRules, options: ReadOptions | None = None
) -> Inspection:
    """Reads an input folder; bad rows go to the quarantine, and nothing is judged yet.

    Args:
        source: the input folder.
        quarantine: existing folder, gets `TABLE.parquet` with the rows set aside.
        params: section `validate_logs`: how much quarantine is too much.
        times: the part of time to read, and what a row's time must look like.
        options: where and how to read.

    Raises:
        ContractError: a file or column breaks the contract, so that rows cannot be read.
    """
    if not source.is_dir():
        raise ContractError(
            f"{source} is not a folder; an input folder holds items and interactions, "
            "see docs/reference/input-contract.md"
        )
    options = options or ReadOptions()
    mapping = Mapping.load(source, options.mapping)
    with Engine(options.scratch or quarantine, options.memory_gb) as engine:
        items = read_items(source, engine, quarantine, params, mapping)
        found = Inspection([*contract_measurements("items"), *items.measurements], items, layouts=[items.layout])
        if found.breached:
            return found
        items.save_ids(engine)
        job = TableJob(source, engine, quarantine, times, params, mapping, options.rows_max)
        found.interactions = Interactions.none()
        if has_table(source, "interactions"):
            found.interactions = read_interactions(job)
            found.measurements += [*contract_measurements("interactions"), *found.interactions.measurements]
        if found.interactions.layout:
            found.layouts.append(found.interactions.layout)
        if has_table(source, "retrieval_labels"):
            found.labels = read_labels(job, sorted(items.verdicts))
            found.measurements += [*contract_measurements("retrieval_labels"), *found.labels.measurements]
            found.layouts.append(found.labels.layout)
    return found


def refuse_nothing_to_learn_from(counts: InteractionCounts) -> None:
    """Refuses an input without a sequence.

    Raises:
        ContractError: always.
    """
    in_window = counts.rows - counts.outside_window
    problems = ProblemLog()
    detail = f"{counts.rows} rows, {in_window} in the window, {counts.short_sequences_dropped} sequences too short"
    problems.add("interactions_not_empty", "interactions.parquet", detail=detail)
    problems.raise_if_any()


def validate_logs(
    source: Path,
    quarantine: Path,
    params: ValidationParams | None = None,
    window: Window | None = None,
) -> tuple[Catalog, Report]:
    """Reads an input folder against the contract, without history, drift or data docs.

    Args:
        source: the input folder.
        quarantine: existing folder, gets `TABLE.parquet` with the rows set aside.
        params: section `validate_logs`: how much quarantine is too much; its defaults if None.
        window: the part of time to read; all of it if None.

    Raises:
        ContractError: the input breaks the contract; the message names file, column, row and rule.
    """
    found = inspect(source, quarantine, params or ValidationParams(), TimeRules(window or Window()))
    refuse(found.breached)
    report = found.report
    if found.interactions and found.interactions.order and report.interactions.sequences == 0:
        refuse_nothing_to_learn_from(report.interactions)
    return found.catalog, report
