"""The online store: what is new in the rows is written to it, and items are looked up in it by id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from modit.core.errors import UnknownItemError
from modit.core.storage import Storage, digest_of
from modit.features.rows import OfflineRows, RowFile
from modit.features.state import newest_rows, shown
from modit.features.tables import EMBEDDING_VIEW

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView
    from feast.protos.feast.types.Value_pb2 import Value


class Materialiser:
    """Writes rows to the online store of one Feast store, newest row of an item only, in bounded memory.

    Feast's own `materialize` reads the whole history into memory; this streams the files and uses Feast's write API
    (docs/adr/0012). Files are noted when all their rows are online, so that a crash is made good by the next call.
    """

    def __init__(self, store: FeatureStore, rows: OfflineRows, overlap: timedelta, batch: int) -> None:
        """Args: `overlap`: how far back to write again; `batch`: rows written at once."""
        self.store, self.rows, self.overlap, self.batch = store, rows, overlap, batch
        kind = digest_of(store.config.online_store.model_dump(mode="json"))[:8]
        self._notes, self._name = Storage(str(rows.folder.parent)), f"online-{kind}.json"

    def run(self, view: FeatureView, everything: bool = False) -> int:
        """Brings a view up to date.

        Args:
            view: as registered.
            everything: writes all items again, whatever is noted.

        Returns:
            Rows written.
        """
        files, notes = self.rows.files(view.name), self._notes.read_json(self._name) or {}
        noted = set() if everything else set(notes.get(view.name, ()))
        pending = [file for file in files if file.path.name not in noted]
        if not pending:
            return 0
        start = min(min(pending).event, files[0].event - self.overlap)
        written = self._write(view, [file for file in files if file.event >= start])
        self.store.registry.apply_materialization(view, self.store.project, start, files[0].event)
        self._notes.write_json(self._name, {**notes, view.name: sorted(file.path.name for file in files)})
        return written

    def _write(self, view: FeatureView, files: Sequence[RowFile]) -> int:
        written = 0
        for batch in newest_rows(files, rows=self.batch):
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
