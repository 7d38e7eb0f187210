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
        """Args: `store`, opened by `open_store`."""
        self.store = store

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
        answer = self.store.get_online_features([f"{EMBEDDING_VIEW}:embedding"], {"item_id": ids}).proto
        column = list(answer.metadata.feature_names.val).index("embedding")
        values = [value.float_list_val.val for value in answer.results[column].values]
        unknown = [each for each, vector in zip(ids, values, strict=True) if not vector]
        if unknown:
            raise UnknownItemError(
                f"{len(unknown)} of {len(ids)} items are not in the feature store (never published, or removed): "
                f"{shown(unknown)}"
            )
        return np.array(values, np.float32)
