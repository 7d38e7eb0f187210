"""Reads the embeddings of a past night from the offline rows, as a test or a benchmark wants to compare them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from modit.core.errors import UnknownItemError
from modit.features.changes import down_to_complete, newest_rows
from modit.features.lookup import EMBEDDING_VIEW, shown
from modit.features.rows import OfflineRows, RowFile


def files_until(
    rows: OfflineRows, view: str, as_of: datetime | None = None, known_at: datetime | None = None
) -> list[RowFile]:
    """Files of a view, without those that became true, or were written, later."""
    return [
        file
        for file in rows.files(view)
        if (as_of is None or file.event <= as_of) and (known_at is None or file.created <= known_at)
    ]


def item_matrix(
    rows: OfflineRows, item_ids: np.ndarray, as_of: datetime | None = None, known_at: datetime | None = None
) -> np.ndarray:
    """The embeddings of items in bulk, from the rows that Feast serves.

    Args:
        rows: the offline store.
        item_ids: unicode [n], the order of the result.
        as_of: what was true then; the newest if None.
        known_at: by what was written until then; everything if None.

    Returns:
        float32 [n, d].

    Raises:
        UnknownItemError: an item was not there, or was removed.
    """
    wanted, found = pd.Index(item_ids), np.zeros(len(item_ids), bool)
    matrix: np.ndarray | None = None
    files = down_to_complete(files_until(rows, EMBEDDING_VIEW, as_of, known_at))
    for batch in newest_rows(files, ["item_id", "embedding"]):
        place = wanted.get_indexer(np.array(batch["item_id"].to_pylist(), dtype=str))
        here = (place >= 0) & batch["embedding"].is_valid().to_numpy(zero_copy_only=False)
        if not here.any():
            continue
        values = batch["embedding"].filter(pa.array(here)).flatten().to_numpy().reshape(int(here.sum()), -1)
        matrix = np.empty((len(item_ids), values.shape[1]), np.float32) if matrix is None else matrix
        matrix[place[here]], found[place[here]] = values, True
    if matrix is None or not found.all():
        missing = np.asarray(item_ids)[~found]
        raise UnknownItemError(f"{len(missing)} items have no embedding as of {as_of or 'now'}: {shown(missing)}")
    return matrix
