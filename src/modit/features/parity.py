"""Compares what Feast answers, online and offline, with what the run computed, bit by bit."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from modit.data.hashing import hash_unit
from modit.features.tables import FeatureTable

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


def sample_of(table: FeatureTable, size: int) -> np.ndarray:
    """Rows to compare, chosen by the hash of their ids: int64 [min(size, N)]."""
    return np.argsort(hash_unit(table.item_ids, "feature-parity"), kind="stable")[:size]


def compare_online(store: FeatureStore, table: FeatureTable, rows: np.ndarray) -> list[str]:
    """Ids of those rows that the online store answers otherwise.

    Args:
        store: with the table's view applied.
        table: what the run computed.
        rows: int [n], of the table.
    """
    if not len(rows):
        return []  # a shard without an item; Feast refuses to be asked for none
    answer = store.get_online_features(references(table), {"item_id": table.item_ids[rows].tolist()}).to_dict()
    return differing(table, rows, answer)


def historical(
    store: FeatureStore, table: FeatureTable, item_ids: np.ndarray, at: datetime, known_at_the_time: bool = True
) -> pd.DataFrame:
    """Feast's point-in-time join: the features of items as they were.

    Args:
        store: with the table's view applied.
        table: whose view and features.
        item_ids: unicode [n].
        at: the instant, UTC.
        known_at_the_time: leaves out rows that were written later. Feast's own default lets them in.

    Returns:
        A row for each item, in the order asked for; null where there is no row.
    """
    import pandas as pd

    asked = pd.DataFrame({"item_id": item_ids, "event_timestamp": pd.Timestamp(at)})
    job = store.get_historical_features(asked, references(table), filter_by_created_timestamp=known_at_the_time)
    return job.to_df().set_index("item_id").reindex(list(item_ids)).reset_index()


def references(table: FeatureTable) -> list[str]:
    """Feast's names of the table's features."""
    return [f"{table.view}:{name}" for name in table.columns]


def differing(table: FeatureTable, rows: np.ndarray, answer: Any) -> list[str]:
    """Ids of those rows whose values in an answer have other bits; null and NaN are the same.

    Args:
        table: what the run computed.
        rows: int [n], of the table.
        answer: feature name -> n values, a mapping or a frame.
    """
    return [
        str(table.item_ids[row])
        for number, row in enumerate(rows)
        if not all(_equal(answer[name][number], values[row]) for name, values in table.columns.items())
    ]


def _equal(found: Any, expected: np.ndarray) -> bool:
    if found is None:
        return expected.ndim == 0 and bool(np.isnan(expected))
    if expected.ndim == 0 and np.isnan(expected):
        return bool(np.isnan(found))
    # A Python float holds a float32 exactly; one that was rounded elsewhere is caught by the way back.
    value = np.asarray(found, dtype=expected.dtype)
    exact = np.array_equal(np.asarray(found, np.float64), value.astype(np.float64))
    return exact and value.shape == expected.shape and value.tobytes() == np.asarray(expected).tobytes()
