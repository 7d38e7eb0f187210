"""From an input folder to a catalogue and a report: the work of the step `validate_logs`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from modit.core.errors import ContractError
from modit.data.catalog import Catalog
from modit.data.contract import check_labels
from modit.data.interactions import InteractionCounts, Tolerance, Window, read_interactions
from modit.data.items import read_items
from modit.data.parts import find_parts, has_table
from modit.data.problems import RULES

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
    """

    items: int
    dimension: int
    positives: dict[str, int]
    interactions: InteractionCounts
    retrieval_labels: int | None

    def save(self, folder: Path) -> None:
        """Writes `report.json`: the counts, and what each rule of the quarantine means."""
        content = asdict(self)
        content["rules"] = {rule: RULES[rule] for rule in self.interactions.quarantined}
        (folder / REPORT_NAME).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def validate_logs(
    source: Path,
    quarantine: Path,
    tolerance: Tolerance | None = None,
    window: Window | None = None,
) -> tuple[Catalog, Report]:
    """Reads an input folder against the contract (docs/data.md).

    Args:
        source: the input folder.
        quarantine: existing folder, gets `interactions.parquet` with the rows set aside.
        tolerance: how much quarantine is too much; the defaults of `Tolerance` if None.
        window: the part of time to read; all of it if None.

    Raises:
        ContractError: the input breaks the contract; the message names file, column, row and rule.
    """
    if not source.is_dir():
        raise ContractError(f"{source} is not a folder; an input folder holds items and interactions, see docs/data.md")
    items = read_items(source)
    sequences, counts = read_interactions(
        source, items.item_ids, quarantine, window or Window(), tolerance or Tolerance()
    )
    catalog = Catalog(items.item_ids, items.embeddings, items.attributes, items.titles, sequences)
    positives = {domain: int(column.sum()) for domain, column in items.attributes.items()}
    return catalog, Report(len(catalog), catalog.dimension, positives, counts, _count_labels(source))


def _count_labels(source: Path) -> int | None:
    if not has_table(source, "retrieval_labels"):
        return None
    parts = find_parts(source, "retrieval_labels")
    check_labels(parts)
    return sum(part.rows for part in parts)
