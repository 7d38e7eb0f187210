"""The online store: what is new in the rows is written to it, and items are looked up in it by id."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from modit.core.errors import UnknownItemError
from modit.core.sections.features import FeatureParams
from modit.core.storage import Storage, digest_of
from modit.features.rows import OfflineRows, RowFile
from modit.features.state import newest_rows, shown
from modit.features.tables import EMBEDDING_VIEW

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView
    from feast.protos.feast.types.Value_pb2 import Value


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


class OnlineItems:
    """Looks up items by id."""

    def __init__(self, store: FeatureStore) -> None:
        """Args: `store`, opened by `open_store`, with something published."""
        self.store, self._view = store, store.get_feature_view(EMBEDDING_VIEW)

    def embeddings(self, item_ids: Sequence[str]) -> np.ndarray:
        """The embeddings of seeds.

        Args:
            item_ids: the caller's ids, at least one; repeats are allowed.

        Returns:
            float32 [n, d], in the order asked for.

        Raises:
            UnknownItemError: an id was never published, or is that of a removed item; all such are named.
        """
        ids = [str(each) for each in item_ids]
        if not ids:
            raise UnknownItemError("no item id is given; at least one is needed")
        values = [value.float_list_val.val[:] for value in self._read(ids)]
        unknown = [each for each, vector in zip(ids, values, strict=True) if not vector]
        if unknown:
            raise UnknownItemError(
                f"{len(unknown)} of {len(ids)} items are not in the feature store (never published, or removed): "
                f"{shown(unknown)}"
            )
        return np.array(values, np.float32)

    def _read(self, ids: list[str]) -> list[Value]:
        """One read of Feast's provider: `get_online_features` would spend as long again on building its answer."""
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        keys = [EntityKey(join_keys=["item_id"], entity_values=[Value(string_val=each)]) for each in ids]
        found = self.store.provider.online_read(self.store.config, self._view, keys, ["embedding"])
        return [features["embedding"] if features else Value() for _, features in found]
