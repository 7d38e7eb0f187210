"""What a run says of its items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from modit.data.catalog import Catalog, Sequences
from modit.features.tables import feature_tables, newest_interaction
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor

NEWEST = datetime(2026, 3, 1, 12, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


@pytest.fixture
def catalog() -> Catalog:
    vectors = np.eye(4, dtype=np.float32)
    times = [NEWEST - timedelta(days=days) for days in (3, 2, 1, 0)]
    sequences = Sequences(
        np.array([0, 4]), np.array([0, 2, 0, 2], np.int32), np.array([microseconds(t) for t in times])
    )
    return Catalog(np.array(["a", "b", "c", "d"]), vectors, {"drama": np.ones(4, np.int8)}, None, sequences)


def tables_of(catalog: Catalog):
    labels, none = np.array([0, 1, 1, 0], np.int32), np.zeros(4, np.int8)
    patterns = Patterns(np.eye(2, 4, dtype=np.float32), labels, none[:2], none)
    predictor = DensityPredictor(np.array([0.1, 0.2, 0.3, 0.4], np.float32), 0.5, 1.0)
    found = feature_tables(catalog, {"drama": patterns}, {"drama": predictor}, NEWEST)
    return {table.view: table.columns for table in found}


def test_popularity_counts_the_window_and_freshness_its_last_interaction(catalog):
    activity = tables_of(catalog)["item_activity"]
    assert activity["interactions"].tolist() == [2, 0, 2, 0]
    assert np.array_equal(activity["days_since_seen"], [1, np.nan, 0, np.nan], equal_nan=True)
    assert newest_interaction(catalog) == NEWEST


def test_without_times_there_is_popularity_and_no_freshness(catalog):
    catalog = Catalog(**{**vars(catalog), "sequences": Sequences(catalog.sequences.offsets, catalog.sequences.items)})
    activity = tables_of(catalog)["item_activity"]
    assert activity["interactions"].tolist() == [2, 0, 2, 0]
    assert np.isnan(activity["days_since_seen"]).all()
    assert newest_interaction(catalog) is None


def test_pattern_and_density_of_a_domain_are_those_of_the_run(catalog):
    metric = tables_of(catalog)["item_metric_drama"]
    assert metric["pattern"].tolist() == [0, 1, 1, 0]
    assert np.allclose(metric["density"], [0.6, 0.7, 0.8, 0.9])
    assert (metric["pattern"].dtype, metric["density"].dtype) == (np.int64, np.float32)
