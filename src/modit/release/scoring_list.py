"""The list of items to score next for a domain: a CSV to fill in, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.core.workspace import cache_folder
from modit.data.catalog import NOT_SCORED, POSITIVE, Catalog
from modit.data.verdict_file import read_verdicts
from modit.metric.score_next import items_to_score


def write_scoring_list(
    run: str,
    target: Path,
    count: int,
    *,
    verdicts: str | None = None,
    domain: str | None = None,
    budget: int | None = None,
    seed: int = 0,
) -> str:
    """Writes the items to score next as CSV: `item_id`, `title` (where there are titles), and an empty `verdict`.

    Filled in, the file is one that `read_verdicts` takes.

    Args:
        run: Address of a run; its catalogue is read.
        target: File to write.
        count: Number of items to list.
        verdicts: Address of a file with the verdicts so far.
        domain: A domain of the run; its verdicts are those so far.
        budget: Most verdicts, with those so far; None for no limit.
        seed: Same seed, same items.

    Returns:
        A line for people: what was written, and what it costs.

    Raises:
        ConfigError: The count is not positive or more than the budget has left, the run has no such domain, or
            no item is left.
        ContractError: The file of verdicts has a fault.
        ArtifactError: The run has no catalogue.
    """
    catalog = Catalog.load(ArtifactStore(Storage(run), cache_folder()).read("catalog"))
    known = _known(catalog, verdicts, domain)
    scored = int((known != NOT_SCORED).sum())
    left = len(catalog) - scored if budget is None else min(budget, len(catalog)) - scored
    if not 1 <= count <= left:
        of = "not scored" if budget is None else f"left of the budget of {budget:,}"
        raise ConfigError(f"count {count:,}: allowed: 1 to {max(left, 0):,}, the items {of}; {scored:,} are scored")
    rows = items_to_score(catalog.embeddings, known, count, seed)
    columns = {"item_id": pa.array(catalog.item_ids[rows].tolist(), pa.string())}
    if catalog.titles is not None:
        columns["title"] = pa.array(catalog.titles[rows].tolist(), pa.string())
    columns["verdict"] = pa.nulls(len(rows), pa.string())
    pyarrow.csv.write_csv(pa.table(columns), target)
    positives = int((known == POSITIVE).sum())
    after = "" if budget is None else f"; the budget of {budget:,} then has {left - count:,} left"
    return f"{target}: {count:,} items to score, beside {scored:,} scored ({positives:,} positive){after}"


def _known(catalog: Catalog, verdicts: str | None, domain: str | None) -> np.ndarray:
    if verdicts:
        return read_verdicts(verdicts, catalog.item_ids, domain or "")
    if domain is None:
        return np.full(len(catalog), NOT_SCORED, np.int8)
    if domain not in catalog.verdicts:
        raise ConfigError(f"domain {domain!r}: allowed: {', '.join(catalog.domains)}")
    return catalog.verdicts[domain]
