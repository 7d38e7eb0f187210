"""Publishes a night: appends what has changed, applies the declarations, materialises, and compares bit by bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import FeatureParityError, RunBusyError
from modit.core.lock import locked
from modit.core.sections import FeatureParams
from modit.features.online import Materialiser
from modit.features.parity import compare_online, sample_of
from modit.features.rows import OfflineRows
from modit.features.state import Changes, find_changes
from modit.features.store import Published, declarations, open_store
from modit.features.tables import FeatureTable

if TYPE_CHECKING:
    from feast import FeatureStore

_WAIT = 600.0  # seconds


@dataclass(frozen=True)
class Night:
    """What is published.

    Attributes:
        as_of: the instant that the features are true for, UTC.
        run_uri: address of the run.
        domains: of the run.
        tables: one for each view.
    """

    as_of: datetime
    run_uri: str
    domains: list[str]
    tables: Sequence[FeatureTable]


def publish(
    folder: Path, repo: Path, night: Night, params: FeatureParams, created: datetime | None = None
) -> dict[str, Any]:
    """Publishes a night; again changes nothing.

    A night older than the newest in the store is left out: the store says what was known when, and the online store
    must not go back.

    Args:
        folder: of the store; made when it is not there.
        repo: the folder `feature_repo`.
        night: what to publish.
        params: section `publish_features`.
        created: when the rows are written; now if None.

    Returns:
        Facts: `status` ("published" or "older"), `written`, `removed` and `online` (rows of each view), `seconds`.

    Raises:
        FeatureParityError: the online store does not answer what the run computed.
        RunBusyError: another process publishes into the same store, for longer than ten minutes.
    """
    started = time.monotonic()
    with locked(folder, _busy(folder), _WAIT, f"run {night.run_uri}"):
        published, rows = Published.read(folder), OfflineRows(folder)
        if published.as_of and night.as_of < datetime.fromisoformat(published.as_of):
            return {"status": "older", "newest": published.as_of}
        published.with_night(night.as_of, night.domains, night.run_uri).write(folder)
        declared = declarations(repo, folder)
        views = {each.name: each for each in declared}
        changes = {table.view: _append(rows, table, views[table.view].ttl, night, created) for table in night.tables}
        store = open_store(repo, folder)
        store.apply(declared)
        online = _materialise(store, rows, night.tables, params)
    return {
        "status": "published",
        "written": {view: len(found.rows) for view, found in changes.items()},
        "removed": {view: len(found.removed) for view, found in changes.items()},
        "online": online,
        "seconds": round(time.monotonic() - started, 2),
    }


def _append(
    rows: OfflineRows, table: FeatureTable, ttl: timedelta | None, night: Night, created: datetime | None
) -> Changes:
    files = rows.files(table.view, since=night.as_of - ttl if ttl else None)
    changes = find_changes(table, files)
    if ttl:
        # What expires is said again every night, changed or not.
        changes = Changes(find_changes(table, [f for f in files if f.event == night.as_of]).rows, changes.removed)
    if changes:
        rows.append(table, changes.rows, changes.removed, night.as_of, created or datetime.now(UTC))
    return changes


def _materialise(
    store: FeatureStore, rows: OfflineRows, tables: Sequence[FeatureTable], params: FeatureParams
) -> dict[str, int]:
    materialiser = Materialiser(store, rows, timedelta(hours=params.overlap_hours), params.batch)
    views = [store.get_feature_view(table.view) for table in tables]
    written = {view.name: materialiser.run(view) for view in views}
    for view, table in zip(views, tables, strict=True):
        sample = sample_of(table, params.sample)
        if compare_online(store, table, sample):
            # The online store has lost what was noted as written, such as a Redis that was emptied.
            written[view.name] += materialiser.run(view, everything=True)
        if wrong := compare_online(store, table, sample):
            raise FeatureParityError(
                f"{view.name}: {len(wrong)} of {len(sample)} items differ online, first {wrong[0]}"
            )
    return written


def _busy(folder: Path) -> Callable[[str], RunBusyError]:
    return lambda who: RunBusyError(f"{folder} is being published to by {who}; waited {_WAIT:g} s")
