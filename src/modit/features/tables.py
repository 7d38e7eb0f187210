"""The features of a run's items: one table for each feature view."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from modit.core.step import ALL_BUCKETS
from modit.data.catalog import Catalog
from modit.features.lookup import EMBEDDING, EMBEDDING_VIEW
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor

ACTIVITY_VIEW = "item_activity"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000  # microseconds


def metric_view(domain: str) -> str:
    """Name of the view with the pattern and predicted density of a domain."""
    return f"item_metric_{domain}"


@dataclass(frozen=True)
class FeatureTable:
    """The features of all items in one view.

    Attributes:
        view: its name.
        item_ids: unicode [N], unique.
        columns: name -> float32 [N, d], float32 [N] or int64 [N]. NaN stands for null, in the columns after the first
            only: a row whose first feature is null is a removed item's.
    """

    view: str
    item_ids: np.ndarray
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.item_ids)

    def take(self, rows: np.ndarray) -> FeatureTable:
        """The same of some items only, int64 [n]."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return FeatureTable(self.view, self.item_ids[rows], columns)

    @property
    def digest(self) -> str:
        """sha256 over ids and values, 64 hexadecimal digits."""
        found = hashlib.sha256("\0".join(self.item_ids.tolist()).encode())
        for name, values in self.columns.items():
            found.update(name.encode())
            found.update(np.ascontiguousarray(values).data)
        return found.hexdigest()


@dataclass(frozen=True)
class Night:
    """What is published.

    Attributes:
        as_of: the instant that the features are true for, UTC.
        run_uri: address of the run.
        domains: of the run.
        tables: one for each view, of the items in these buckets.
        buckets: what the task publishes; other shards publish the others.
        space: version of the embedding space.
    """

    as_of: datetime
    run_uri: str
    domains: list[str]
    tables: Sequence[FeatureTable]
    buckets: range = ALL_BUCKETS
    space: str = ""


def feature_tables(
    catalog: Catalog, patterns: dict[str, Patterns], predictors: dict[str, DensityPredictor], as_of: datetime
) -> list[FeatureTable]:
    """The tables of a run.

    Args:
        catalog: its items and interactions.
        patterns: of each domain.
        predictors: of the same domains.
        as_of: the instant that the features are true for.

    Returns:
        Embedding, activity, then a table for each domain.
    """
    ids = catalog.item_ids
    metrics = [
        FeatureTable(
            metric_view(domain),
            ids,
            {"pattern": patterns[domain].labels.astype(np.int64), "density": predictor.predict(catalog.embeddings)},
        )
        for domain, predictor in sorted(predictors.items())
    ]
    embedding = FeatureTable(EMBEDDING_VIEW, ids, {EMBEDDING: catalog.embeddings})
    return [embedding, FeatureTable(ACTIVITY_VIEW, ids, _activity(catalog, as_of)), *metrics]


def newest_interaction(catalog: Catalog) -> datetime | None:
    """When the last interaction happened, or None where the input has no times."""
    times = catalog.sequences.times
    return None if times is None or not len(times) else _EPOCH + timedelta(microseconds=int(times.max()))


def _activity(catalog: Catalog, as_of: datetime) -> dict[str, np.ndarray]:
    sequences, count = catalog.sequences, len(catalog)
    interactions = np.bincount(sequences.items, minlength=count).astype(np.int64)
    days = np.full(count, np.nan, np.float32)
    if sequences.times is not None:
        seen = interactions > 0
        last = np.full(count, np.iinfo(np.int64).min)
        np.maximum.at(last, sequences.items, sequences.times)
        days[seen] = ((as_of - _EPOCH) // timedelta(microseconds=1) - last[seen]) / _DAY
    return {"interactions": interactions, "days_since_seen": days}
