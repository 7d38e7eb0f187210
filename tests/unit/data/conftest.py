"""A sound little input folder, to break in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DIMENSION, ITEMS, SEQUENCES, LENGTH = 4, 12, 4, 5


@dataclass
class Tables:
    """The tables of an input folder as columns; a test changes some and writes the folder."""

    items: dict[str, pa.Array]
    interactions: dict[str, pa.Array]

    def set(self, table: str, column: str, row: int, value: object) -> None:
        """Replaces one value."""
        columns = getattr(self, table)
        values = columns[column].to_pylist()
        values[row] = value
        columns[column] = pa.array(values, columns[column].type)

    def set_embedding(self, row: int, vector: list[float | None]) -> None:
        """Replaces one embedding; the column becomes a list of free length."""
        values = self.items["embedding"].to_pylist()
        values[row] = vector
        self.items["embedding"] = pa.array(values, pa.list_(pa.float32()))

    def use_timestamps(self) -> None:
        """Replaces position by timestamp: row n is n hours after 1 January 2026."""
        del self.interactions["position"]
        times = [datetime(2026, 1, 1) + timedelta(hours=number) for number in range(SEQUENCES * LENGTH)]
        self.interactions["timestamp"] = pa.array(times, pa.timestamp("us"))

    def write(self, folder: Path) -> Path:
        """Writes both tables as single files; returns the folder."""
        pq.write_table(pa.table(self.items), folder / "items.parquet")
        pq.write_table(pa.table(self.interactions), folder / "interactions.parquet")
        return folder


@pytest.fixture
def tables() -> Tables:
    """Twelve items of four numbers; four sequences of five items, with positions."""
    vectors = np.random.default_rng(0).standard_normal((ITEMS, DIMENSION)).astype(np.float32)
    items = {
        "item_id": pa.array([f"i{number}" for number in range(ITEMS)]),
        "title": pa.array([f"Item {number}" for number in range(ITEMS)]),
        "attr_quality": pa.array([number % 3 == 0 for number in range(ITEMS)]),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
    }
    rows = range(SEQUENCES * LENGTH)
    interactions = {
        "sequence_id": pa.array([f"s{number // LENGTH}" for number in rows]),
        "item_id": pa.array([f"i{number % ITEMS}" for number in rows]),
        "position": pa.array([number % LENGTH for number in rows]),
    }
    return Tables(items, interactions)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty input folder."""
    folder = tmp_path / "input"
    folder.mkdir()
    return folder


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    """An empty quarantine folder."""
    folder = tmp_path / "quarantine"
    folder.mkdir()
    return folder
