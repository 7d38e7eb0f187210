"""Publishes a night: appends what has changed, applies the declarations, materialises, and compares bit by bit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import FeatureParityError, RunBusyError
from modit.core.locks import locked, locked_range
from modit.core.storage import Storage, digest_of
from modit.features.changes import append_night, newest_rows
from modit.features.params import FeatureParams
from modit.features.parity import compare_online, sample_of
from modit.features.rows import OfflineRows, RowFile
from modit.features.store import Published, declarations, open_store, write_config
from modit.features.tables import FeatureTable, Night

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_WAIT = 600.0  # seconds
Lock = Callable[[], AbstractContextManager[None]]


def publish(
    folder: Path,
    repo: Path,
    night: Night,
    params: FeatureParams,
    created: datetime | None = None,
    in_use: Callable[[], Collection[str] | None] = frozenset,
) -> dict[str, Any]:
    """Publishes a night, or the items of one shard; a second call changes nothing.

    A night older than the newest in the store is left out: the store says what was known when, and the online store
    must not go back. A process that publishes the same buckets waits; shards of other buckets run in parallel.

    Args:
        folder: of the store; made when it is not there.
        repo: the folder `feature_repo`.
        night: what to publish.
        params: section `publish_features`.
        created: when the rows are written; now if None.
        in_use: asked when services are to be dropped: the runs whose services stay; None for all.

    Returns:
        Facts: `status` ("published" or "older"), `written`, `removed` and `online` (rows of each view),
        `services_dropped`, `seconds`.

    Raises:
        FeatureParityError: the rows or the online store do not answer what the run computed.
        RunBusyError: another process publishes the same items, or holds the store, for longer than ten minutes.
    """
    started, now = time.monotonic(), created or datetime.now(UTC)

    def busy(who: str) -> RunBusyError:
        return RunBusyError(f"{folder} is being published to by {who}; waited {_WAIT:g} s")

    lock = partial(locked, folder, busy, _WAIT, f"run {night.run_uri}")
    with locked_range(folder / ".bucket_locks", night.buckets, partial(busy, "another run"), _WAIT):
        with lock():
            published, rows = Published.read(folder), OfflineRows(folder)
            if published.as_of and night.as_of < datetime.fromisoformat(published.as_of):
                return {"status": "older", "newest": published.as_of}
            published = published.with_night(night, now)
            published.with_newest_services(params.services_kept, in_use).write(folder)
            write_config(repo, folder)
            expiring = {each.name for each in declarations(repo, folder) if getattr(each, "ttl", None)}
        changes = {
            table.view: append_night(rows, table, night.as_of, now, table.view in expiring, night.buckets)
            for table in night.tables
        }
        with lock():
            store = open_store(folder)
            dropped = _apply(store, declarations(repo, folder))
        online = _materialise(Materialiser(store, rows, params, lock, night.buckets), night.tables, params.sample)
    return {
        "status": "published",
        "written": {view: len(found.rows) for view, found in changes.items()},
        "removed": {view: len(found.removed) for view, found in changes.items()},
        "online": online,
        "services_dropped": dropped,
        "seconds": round(time.monotonic() - started, 2),
    }


def _apply(store: FeatureStore, declared: list[Any]) -> list[str]:
    """Makes the registry have what is declared; names the services that it had and are declared no more."""
    store.apply(declared)
    names = {each.name for each in declared}
    dropped = sorted(each.name for each in store.list_feature_services() if each.name not in names)
    for name in dropped:
        store.delete_feature_service(name)
    return dropped


def _materialise(materialiser: Materialiser, tables: Sequence[FeatureTable], size: int) -> dict[str, int]:
    """Writes all views online, compares a sample of each, and returns the rows that were written."""
    store, written = materialiser.store, {}
    views = [store.get_feature_view(table.view) for table in tables]
    for view in views:
        written[view.name] = materialiser.run(view)
    for view, table in zip(views, tables, strict=True):
        sample = sample_of(table, size)
        if compare_online(store, table, sample):
            # The online store has lost what was noted as written, such as a Redis that was emptied.
            written[view.name] += materialiser.run(view, everything=True)
        if wrong := compare_online(store, table, sample):
            raise FeatureParityError(
                f"{view.name}: {len(wrong)} of {len(sample)} items differ online, first {wrong[0]}"
            )
    return written


class Materialiser:
    """Writes rows to the online store of one Feast store, newest row of an item only, in bounded memory.

    Feast's own `materialize` reads the whole history into memory; this streams the files and uses Feast's write API
    (docs/adr/0012). Which buckets of a file are online is noted when they are, so that a crash is made good by the next
    call.
    """

    def __init__(
        self, store: FeatureStore, rows: OfflineRows, params: FeatureParams, lock: Lock, buckets: range
    ) -> None:
        """Prepares for some items.

        Args:
            store: opened by `open_store`.
            rows: the offline store.
            params: `overlap_hours`: how far back to write again; `batch`: rows written at once.
            lock: holds the store for this process.
            buckets: in which the items lie.
        """
        self.store, self.rows, self.lock, self.buckets = store, rows, lock, buckets
        self.overlap, self.batch = timedelta(hours=params.overlap_hours), params.batch
        online = store.config.online_store
        # SQLite takes one writer at a time, so shards queue for it.
        self._writing: Lock = lock if online.type == "sqlite" else contextlib.nullcontext
        kind = digest_of(online.model_dump(mode="json"))[:8]
        self._notes, self._name = Storage(str(rows.folder.parent)), f"online-buckets-{kind}.json"

    def run(self, view: FeatureView, everything: bool = False) -> int:
        """Brings a view up to date, or with `everything` writes all items again; returns the number of rows written."""
        files = self.rows.files(view.name, buckets=self.buckets)
        noted = {} if everything else self._noted().get(view.name, {})
        pending = [file for file in files if self._mask(file) & ~noted.get(file.path.name, 0)]
        if not pending:
            return 0
        start = min(min(pending).event, files[0].event - self.overlap)
        written = 0
        with self._writing():
            newest = newest_rows([each for each in files if each.event >= start], rows=self.batch, buckets=self.buckets)
            for batch in newest:
                # Not `write_to_online_store`: it drops a batch without a single value, such as one of removed items.
                self.store.provider.ingest_df(view, batch.to_pandas())
                written += len(batch)
        with self.lock():
            self.store.refresh_registry()  # another shard may have written since
            self.store.registry.apply_materialization(view, self.store.project, start, files[0].event)
            self._note(view.name, files)
        return written

    def _note(self, view: str, files: Sequence[RowFile]) -> None:
        notes = self._noted()
        before = notes.get(view, {})
        there = {file.path.name: before.get(file.path.name, 0) for file in self.rows.files(view)}
        done = {file.path.name: there[file.path.name] | self._mask(file) for file in files}
        self._notes.write_json(self._name, {**notes, view: {**there, **done}})

    def _noted(self) -> dict[str, dict[str, int]]:
        """View -> file -> which of its buckets are online, bit by bit."""
        return self._notes.read_json(self._name) or {}

    def _mask(self, file: RowFile) -> int:
        return sum(1 << bucket for bucket in file.buckets if bucket in self.buckets)
