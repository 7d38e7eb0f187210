"""The online store: what is new in the rows is written to it, and items are looked up in it by id."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

from modit.core.storage import Storage, digest_of
from modit.features.params import FeatureParams
from modit.features.rows import OfflineRows, RowFile
from modit.features.state import newest_rows

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView


Lock = Callable[[], AbstractContextManager[None]]


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
        """Brings a view up to date.

        Args:
            view: as registered.
            everything: writes all items again, whatever is noted.

        Returns:
            Rows written.
        """
        files = self.rows.files(view.name, buckets=self.buckets)
        noted = {} if everything else self._noted().get(view.name, {})
        pending = [file for file in files if self._mask(file) & ~noted.get(file.path.name, 0)]
        if not pending:
            return 0
        start = min(min(pending).event, files[0].event - self.overlap)
        with self._writing():
            written = self._write(view, [file for file in files if file.event >= start])
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

    def _write(self, view: FeatureView, files: Sequence[RowFile]) -> int:
        written = 0
        for batch in newest_rows(files, rows=self.batch, buckets=self.buckets):
            # Not `write_to_online_store`: it drops a batch without a single value, such as one of removed items.
            self.store.provider.ingest_df(view, batch.to_pandas())
            written += len(batch)
        return written
