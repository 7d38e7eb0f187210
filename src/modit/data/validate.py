"""From an input folder to a catalogue, a quarantine and the facts: what the step `validate_logs` judges."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from modit.core.errors import ContractError
from modit.data.catalog import Catalog, Sequences
from modit.data.facts import Fact, contract_facts, refuse
from modit.data.interactions import InteractionCounts, Interactions, read_interactions
from modit.data.items import Items, read_items
from modit.data.labels import LabelCounts, RetrievalLabels, read_labels
from modit.data.params import ValidationParams
from modit.data.parts import has_table
from modit.data.problems import RULES, ProblemLog
from modit.data.window import TimeRules, Window

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
    """

    items: int
    dimension: int
    positives: dict[str, int]
    interactions: InteractionCounts
    retrieval_labels: int | None
    items_quarantined: dict[str, int] = field(default_factory=dict)
    labels: LabelCounts | None = None

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
        content["rules"] = {rule: RULES[rule] for counts in self.quarantined.values() for rule in counts}
        (folder / REPORT_NAME).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


@dataclass
class Inspection:
    """What was found in a window. Later tables are missing where the items are past their limits: nothing fits to them.

    Attributes:
        facts: one for each rule that was measured.
        items: the good items.
        interactions: the good interactions, or None.
        labels: the good retrieval labels, or None.
    """

    facts: list[Fact]
    items: Items
    interactions: Interactions | None = None
    labels: RetrievalLabels | None = None

    @property
    def catalog(self) -> Catalog:
        """The good rows as a catalogue.

        Raises:
            ContractError: the items are past their limits.
        """
        if self.interactions is None:
            refuse(fact for fact in self.facts if fact.is_breached)
        sequences = self.interactions.sequences if self.interactions else Sequences.none()
        verdicts = {domain: column.astype(np.int8) for domain, column in self.items.attributes.items()}
        return Catalog(self.items.item_ids, self.items.embeddings, verdicts, self.items.titles, sequences)

    @property
    def report(self) -> Report:
        """The counts."""
        return Report(
            items=len(self.items.item_ids),
            dimension=int(self.items.embeddings.shape[1]),
            positives={domain: int(column.sum()) for domain, column in self.items.attributes.items()},
            interactions=self.interactions.counts if self.interactions else InteractionCounts(),
            retrieval_labels=self.labels.counts.rows if self.labels else None,
            items_quarantined=self.items.quarantined,
            labels=self.labels.counts if self.labels else None,
        )


def inspect(source: Path, quarantine: Path, params: ValidationParams, times: TimeRules) -> Inspection:
    """Reads an input folder row by row; bad rows go to the quarantine, and nothing is judged yet.

    Args:
        source: the input folder.
        quarantine: existing folder, gets `TABLE.parquet` with the rows set aside.
        params: section `validate_logs`: how much quarantine is too much.
        times: the part of time to read, and what a row's time must look like.

    Raises:
        ContractError: a file or column breaks the contract, so that rows cannot be read.
    """
    if not source.is_dir():
        raise ContractError(
            f"{source} is not a folder; an input folder holds items and interactions, "
            "see docs/reference/input-contract.md"
        )
    items = read_items(source, quarantine, params)
    found = Inspection([*contract_facts("items"), *items.facts], items)
    if any(fact.is_breached for fact in items.facts):
        return found
    found.interactions = read_interactions(source, items.item_ids, quarantine, times, params)
    found.facts += [*contract_facts("interactions"), *found.interactions.facts]
    if has_table(source, "retrieval_labels"):
        found.labels = read_labels(source, items.item_ids, sorted(items.attributes), quarantine, times, params)
        found.facts += [*contract_facts("retrieval_labels"), *found.labels.facts]
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
    refuse(fact for fact in found.facts if fact.is_breached)
    report = found.report
    if report.interactions.sequences == 0:
        refuse_nothing_to_learn_from(report.interactions)
    return found.catalog, report
