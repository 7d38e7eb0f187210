"""The scorer's verdicts of a domain that is added to an accepted catalogue: of a column, of a file, or asked for."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.artifacts import MANIFEST
from modit.core.errors import ConfigError, ContractError
from modit.core.run_config import NewDomain
from modit.data.catalog import NOT_SCORED, Catalog
from modit.data.contract import VERDICT
from modit.data.engine import Engine
from modit.data.files import find_files
from modit.data.hash_unit import hash_unit
from modit.data.mapping import Mapping as MappingFile
from modit.data.mapping import SourceColumn, TableLayout, understand
from modit.data.nightly import OUTCOME_FILE
from modit.data.verdict_file import read_verdicts

# Items that a function is asked about at once; what it said is on disk before the next ones are asked.
BATCH = 1_024
# What a scorer is: items in the columns of the input contract (`item_id`, `embedding`, `title`) -> a bool each.
Scorer = Callable[[pa.Table], Sequence[bool] | np.ndarray]

logger = logging.getLogger(__name__)


def extend(
    taken: Mapping[str, Path],
    outputs: Mapping[str, Path],
    new: NewDomain,
    source: Callable[[], Path],
    scratch: Path,
) -> dict[str, Any]:
    """Writes what another run has accepted, with the scorer's verdicts of one more domain.

    Args:
        taken: folders of that run's `catalog`, `quarantine` and `validation`.
        outputs: existing folders for the same.
        new: the domain.
        source: gives the input folder, asked for only where a column has the verdicts.
        scratch: folder that survives a crash: no item is asked about twice.

    Returns:
        The outcome of that run's validation.

    Raises:
        ConfigError: the scorer cannot be found.
        ContractError: a function does not say true or false of an item, a column lacks an item, or a file of verdicts
            has a fault.
    """
    for name, folder in taken.items():
        shutil.copytree(folder, outputs[name], dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    catalog = Catalog.load(taken["catalog"])
    if new.file:
        verdicts = read_verdicts(new.file, catalog.item_ids, new.name)
    elif new.column:
        verdicts = _column_verdicts(source(), new.column, catalog.item_ids)
    else:
        rows = asked_rows(catalog.item_ids, new.label_budget)
        verdicts = _asked_verdicts(_load_scorer(new), catalog, rows, scratch)
    extended = replace(catalog, verdicts={**catalog.verdicts, new.name: verdicts.astype(np.int8)})
    extended.save(outputs["catalog"])
    positives = int(extended.positive(new.name).sum())
    logger.info("domain %s is added to %s: %d of %d items", new.name, new.run, positives, len(extended))
    return json.loads((outputs["validation"] / OUTCOME_FILE).read_text(encoding="utf-8"))


def _column_verdicts(source: Path, column: str, item_ids: np.ndarray) -> np.ndarray:
    """Verdicts of a column of `items`, int8 [N], in the order of the ids; `NOT_SCORED` where the column is null."""
    with TemporaryDirectory(prefix="modit-") as folder, Engine(Path(folder)) as engine:
        layout = understand("items", find_files(source, "items", engine), MappingFile.load(source), engine)
        for file in layout.files:
            kind = file.columns.get(column)
            if kind is None or not (file.is_text or VERDICT.accepts(kind)):
                raise ContractError(f"{file.name}, column {column!r}: is {kind or 'missing'}; allowed: {VERDICT.name}")
        columns = {"item_id": layout.columns["item_id"], "verdict": SourceColumn("verdict", VERDICT, column)}
        chosen = TableLayout("items", layout.files, columns)
        with chosen.decoding(layout.files, engine):
            found = engine.table(chosen.scan(layout.files))
    unread = found["verdict_text"].drop_null()
    if len(unread):
        raise ContractError(f"items, column {column!r}: is {unread[0].as_py()!r}; allowed: {VERDICT.name}")
    rows = pc.index_in(pa.array(item_ids.tolist(), pa.string()), found["item_id"])
    if rows.null_count:
        missing = item_ids[rows.is_null().to_numpy(zero_copy_only=False)]
        raise ContractError(f"items, column {column!r}: {len(missing)} items are not there, such as {missing[0]!r}")
    return pc.fill_null(found["verdict"].take(rows), NOT_SCORED).to_numpy()


def asked_rows(item_ids: np.ndarray, budget: int | None) -> np.ndarray:
    """The items that a function is asked about: all, or as many as the budget allows.

    They are drawn by the hash of the id, so a larger budget adds items to those of a smaller one. No item is preferred:
    the held-out ones among them stay a fair sample of the catalogue, which the evaluation needs.

    Args:
        item_ids: of the catalogue [N].
        budget: most items; None for no limit.

    Returns:
        Rows, ascending.
    """
    if budget is None or budget >= len(item_ids):
        return np.arange(len(item_ids))
    return np.sort(np.argsort(hash_unit(item_ids, "label-budget"), kind="stable")[:budget])


def _asked_verdicts(scorer: Scorer, catalog: Catalog, rows: np.ndarray, scratch: Path) -> np.ndarray:
    """Asks a function about items, int8 [N]; batches that an earlier attempt asked about are read from disk."""
    verdicts = np.full(len(catalog), NOT_SCORED, np.int8)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        file = scratch / f"verdicts-{start:010}.npy"
        if not file.exists():
            asked = _items_table(catalog, batch)
            partial = file.with_suffix(".partial.npy")
            np.save(partial, _checked(scorer(asked), asked))
            partial.rename(file)
            logger.info("asked the scorer about %d of %d items", start + len(asked), len(rows))
        verdicts[batch] = np.load(file)
    return verdicts


def _items_table(catalog: Catalog, rows: np.ndarray) -> pa.Table:
    """Items in the columns of the input contract: `item_id`, `embedding` (unit length) and `title` (null without)."""
    embeddings = np.ascontiguousarray(catalog.embeddings[rows], np.float32)
    count, width = embeddings.shape
    titles = catalog.titles[rows].tolist() if catalog.titles is not None else [None] * count
    columns = {
        "item_id": pa.array(catalog.item_ids[rows].tolist(), pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), width),
        "title": pa.array(titles, pa.string()),
    }
    return pa.table(columns)


def _load_scorer(new: NewDomain) -> Scorer:
    module, name = new.entry_point or ("", "")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        place = "on PYTHONPATH, or in the image `data` where steps are containers"
        raise ConfigError(f"scorer {new.scorer!r}: {error}; allowed: what can be imported, {place}") from error
    if not callable(found):
        raise ConfigError(f"scorer {new.scorer!r} is a {type(found).__name__}; allowed: a function of a table of items")
    return found


def _checked(verdicts: Sequence[bool] | np.ndarray, asked: pa.Table) -> np.ndarray:
    found = np.asarray(verdicts)
    if found.dtype != bool or found.shape != (len(asked),):
        raise ContractError(
            f"the scorer said {found.dtype} {list(found.shape)} of {len(asked)} items; allowed: a bool of each"
        )
    return found
