"""What a night adds to the offline rows of a view: what has changed, and now and then everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from modit.core.errors import FeatureParityError
from modit.core.step import ALL_BUCKETS
from modit.features.lookup import shown
from modit.features.rows import OfflineRows, RowFile, down_to_complete
from modit.features.state import Changes, find_changes
from modit.features.tables import FeatureTable


def append_night(
    rows: OfflineRows,
    table: FeatureTable,
    as_of: datetime,
    created: datetime,
    expires: bool = False,
    buckets: range = ALL_BUCKETS,
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
        buckets: in which the items of the table lie; those of others are left as they are.

    Returns:
        What was written.

    Raises:
        FeatureParityError: what was written is read back otherwise.
    """
    files = down_to_complete(rows.files(table.view, buckets=buckets), buckets)
    changes = find_changes(table, files, buckets)
    if (expires and not (files and files[0].event == as_of)) or _is_much(changes, files, len(table), buckets):
        changes = Changes(np.arange(len(table)), changes.removed)
    if changes:
        rows.append(table, changes.rows, changes.removed, as_of, created, buckets)
        _read_back(rows, table, buckets)
    return changes


def _is_much(changes: Changes, files: Sequence[RowFile], items: int, buckets: range) -> bool:
    added = len(changes.rows) + len(changes.removed)
    return added > 0 and added + sum(_share(file, buckets) for file in files[:-1]) > items


def _share(file: RowFile, buckets: range) -> float:
    """How many of a file's rows are of some buckets, about: the number of shards may have changed since."""
    return file.count * len(set(file.buckets).intersection(buckets)) / len(file.buckets)


def _read_back(rows: OfflineRows, table: FeatureTable, buckets: range) -> None:
    files = down_to_complete(rows.files(table.view, buckets=buckets), buckets)
    wrong = find_changes(table, files, buckets)
    if wrong:
        ids = [*table.item_ids[wrong.rows].tolist(), *wrong.removed.tolist()]
        raise FeatureParityError(f"{table.view}: {len(ids)} of {len(table)} items differ offline: {shown(ids)}")
