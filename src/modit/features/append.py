"""What a night adds to the offline rows of a view: what has changed, and now and then everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from modit.core.errors import FeatureParityError
from modit.features.rows import OfflineRows, RowFile, down_to_complete
from modit.features.state import Changes, find_changes, shown
from modit.features.tables import FeatureTable


def append_night(
    rows: OfflineRows, table: FeatureTable, as_of: datetime, created: datetime, expires: bool = False
) -> Changes:
    """Makes the rows of a view say what a table says; again adds nothing.

    All items are written where rows expire, and when the rows since the last file with all of them would be more than
    the items: so whoever reads the state reads each item twice at most, however many nights there are.

    Args:
        rows: the offline store.
        table: of the view.
        as_of: the instant of the night, UTC.
        created: now, UTC.
        expires: whether the view has a time to live.

    Returns:
        What was written.

    Raises:
        FeatureParityError: what was written is read back otherwise.
    """
    files = down_to_complete(rows.files(table.view))
    changes = find_changes(table, files)
    if (expires and not (files and files[0].event == as_of)) or _is_much(changes, files, len(table)):
        changes = Changes(np.arange(len(table)), changes.removed)
    if changes:
        rows.append(table, changes.rows, changes.removed, as_of, created)
        _read_back(rows, table)
    return changes


def _is_much(changes: Changes, files: Sequence[RowFile], items: int) -> bool:
    added = len(changes.rows) + len(changes.removed)
    return added > 0 and added + sum(file.count for file in files[:-1]) > items


def _read_back(rows: OfflineRows, table: FeatureTable) -> None:
    wrong = find_changes(table, down_to_complete(rows.files(table.view)))
    if wrong:
        ids = [*table.item_ids[wrong.rows].tolist(), *wrong.removed.tolist()]
        raise FeatureParityError(f"{table.view}: {len(ids)} of {len(table)} items differ offline: {shown(ids)}")
