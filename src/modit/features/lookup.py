"""Reads item embeddings from the online store by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modit.core.errors import UnknownItemError

if TYPE_CHECKING:
    from feast import FeatureStore

EMBEDDING_VIEW, EMBEDDING, SPACE_TAG = "item_embedding", "embedding", "space"


class OnlineItems:
    """The items in the online store of one feature store."""

    def __init__(self, store: FeatureStore) -> None:
        """Prepares to read.

        Args:
            store: opened by `open_store`, with at least one night published.
        """
        self.store, self._view = store, store.get_feature_view(EMBEDDING_VIEW)

    def find(self, item_ids: Sequence[str]) -> list[np.ndarray | None]:
        """Looks up embeddings in one read.

        This calls Feast's provider: `get_online_features` needs twice the time, for building its answer.

        Args:
            item_ids: ids to look up; repeats are allowed.

        Returns:
            For each id its embedding, float32 [d], or None where the store has no such item.
        """
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        if not item_ids:
            return []
        keys = [EntityKey(join_keys=["item_id"], entity_values=[Value(string_val=each)]) for each in item_ids]
        found = self.store.provider.online_read(self.store.config, self._view, keys, [EMBEDDING])
        values = [features[EMBEDDING].float_list_val.val[:] if features else [] for _, features in found]
        return [np.array(vector, np.float32) if vector else None for vector in values]

    def embeddings(self, item_ids: Sequence[str]) -> np.ndarray:
        """Looks up the embeddings of items that must be in the store.

        Args:
            item_ids: at least one id; repeats are allowed.

        Returns:
            float32 [n, d], in the order of `item_ids`.

        Raises:
            UnknownItemError: an id was never published, or its item was removed; the message names such ids.
        """
        ids = [str(each) for each in item_ids]
        if not ids:
            raise UnknownItemError("no item id is given; at least one is needed")
        found = self.find(ids)
        if unknown := [each for each, vector in zip(ids, found, strict=True) if vector is None]:
            raise UnknownItemError(
                f"{len(unknown)} of {len(ids)} items are not in the feature store (never published, or removed): "
                f"{shown(unknown)}"
            )
        return np.array(found, np.float32)

    def space(self) -> str:
        """Version of the embedding space that the last night published, as the feature view's tag names it."""
        view = self.store.get_feature_view(EMBEDDING_VIEW, allow_registry_cache=True)
        return view.tags.get(SPACE_TAG, "")

    def has_service(self, name: str) -> bool:
        """Whether the store has a feature service of this name, as of the registry's cache."""
        services = self.store.registry.list_feature_services(self.store.project, allow_cache=True)
        return any(each.name == name for each in services)


def shown(ids: Sequence[str] | np.ndarray) -> str:
    """The first ids of a list, for a message."""
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
