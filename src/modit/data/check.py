"""`modit check PATH`: what a run would make of an input folder, without the run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from modit.core.errors import ContractError
from modit.data.catalog import ATTRIBUTE_PREFIX, NEGATIVE, NOT_SCORED, POSITIVE
from modit.data.contract import conversion
from modit.data.files import TableFile
from modit.data.items import Items
from modit.data.mapping import SourceColumn, TableLayout
from modit.data.params import ValidationParams
from modit.data.validate import Inspection, inspect, refuse_nothing_to_learn_from
from modit.data.window import Window

# Rows of interactions and of labels that are looked at: a few seconds' work.
ROWS_MAX = 2_000_000


def check(source: Path, mapping: Path | None = None, rows_max: int = ROWS_MAX) -> tuple[str, bool]:
    """Reads an input folder as a run does, and says what it understood.

    Args:
        source: the input folder.
        mapping: a mapping file; None for the one in the folder, if there is one.
        rows_max: most rows of interactions and of retrieval labels to read.

    Returns:
        The text to show, and whether a run would take the folder.
    """
    try:
        return _checked(source, mapping, rows_max, needs_domains=True)
    except ContractError as error:
        refused = str(error)
    try:
        text, is_taken = _checked(source, mapping, rows_max, needs_domains=False)
    except ContractError as error:
        text, is_taken = str(error), False
    if not is_taken:
        refused += f"\n\nPipelines without domains would refuse it, too:\n{text}" if "text_present" in text else ""
        return f"{source}: a run would refuse it.\n\n{refused}", False
    text = text.replace("a run would take it.", "a run of a pipeline without domains would take it.", 1)
    return f"{text}\n\nPipelines with domains, such as retrain, would refuse it:\n{refused}", True


def _checked(source: Path, mapping: Path | None, rows_max: int, needs_domains: bool) -> tuple[str, bool]:
    """The text of a check for pipelines with or without domains; the rest is as in `check`.

    Raises:
        ContractError: the rows cannot be read.
    """
    with TemporaryDirectory(prefix="modit-") as folder:
        found = inspect(
            source,
            Path(folder),
            ValidationParams(),
            Window(),
            mapping=mapping,
            rows_max=rows_max,
            needs_domains=needs_domains,
        )
        refusal = _refusal(found)
    lines = [f"{source}: {'a run would refuse it.' if refusal else 'a run would take it.'}"]
    for layout in found.layouts:
        lines += ["", *_table(layout, found, rows_max)]
    lines += ["", *_missing(found)]
    return "\n".join([*lines, *refusal]).rstrip(), not refusal


def _refusal(found: Inspection) -> list[str]:
    if found.breached:
        return ["", "why it would be refused (rows count from 0):", *map(str, found.breached)]
    try:
        refuse_nothing_to_learn_from(found)
    except ContractError as error:
        return ["", str(error)]
    return []


def _table(layout: TableLayout, found: Inspection, rows_max: int) -> Iterable[str]:
    first = layout.files[0]
    files = first.name if len(layout.files) == 1 else f"{first.name.split('/')[0]}/, {len(layout.files)} files"
    yield f"{layout.table}: {files} ({first.format}), {_rows(layout, found)}"
    for source in layout.columns.values():
        yield _column(source, first, found.items)
    if layout.table != "items" and found.report.tables[layout.table].rows == rows_max:
        yield f"  looked at the first {rows_max:,} rows; a run reads all of them"
    for each in found.measurements:
        if each.table == layout.table and each.rows and each.rule != "time_order":
            share = f"{each.value:.2%} of the rows, allowed {each.high:.2%}"
            yield f"  set aside: {each.rows:,} by {each.rule} ({share})"


def _rows(layout: TableLayout, found: Inspection) -> str:
    if layout.table == "items":
        source = "" if "embedding" in layout.columns else ", made from title and description"
        return f"{len(found.items.item_ids):,} items, embeddings of {found.items.embeddings.shape[1]} numbers{source}"
    report = found.report
    sequences = f", {report.interactions.sequences:,} sequences of two items and more"
    return f"{report.tables[layout.table].rows:,} rows{sequences if layout.table == 'interactions' else ''}"


def _column(source: SourceColumn, file: TableFile, items: Items) -> str:
    domain = source.name.removeprefix(ATTRIBUTE_PREFIX) if source.name.startswith(ATTRIBUTE_PREFIX) else None
    parts = [f"column {source.column!r}"] if source.column != source.name else []
    kind = file.columns[source.column]
    parts += ["text" if file.is_text else _type(kind)]
    parts += filter(None, [conversion(source.kind, kind, file.is_text, source.unit)])
    text = ", ".join(parts)
    if domain is not None:
        verdicts = items.verdicts[domain]
        names = {POSITIVE: "true", NEGATIVE: "false", NOT_SCORED: "not scored"}
        counts = {name: int((verdicts == value).sum()) for value, name in names.items()}
        text += ": " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"  {f'domain {domain}' if domain else source.name:<20} {text}"


def _type(kind: pa.DataType) -> str:
    return str(kind).replace("extension<arrow.", "").replace("]>", "]").replace("element: ", "").replace("large_", "")


def _missing(found: Inspection) -> Iterable[str]:
    tables = {layout.table for layout in found.layouts}
    if found.interactions is None:
        yield "interactions and retrieval_labels were not read: the items are past their limits"
        return
    if "interactions" not in tables:
        yield "interactions: none; pretraining draws its sequences from the patterns"
    if "retrieval_labels" not in tables:
        yield "retrieval_labels: none; the index is asked about every anchor"
    if "queries" not in tables:
        yield "queries: none; the pipelines towers and fan_out need queries and labels"
