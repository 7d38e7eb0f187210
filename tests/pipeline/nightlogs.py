"""Small logs in the input contract that come day by day, and a run that reads a window of them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.registry import REGISTRY
from modit.core.runner import StepRunner

ROOT = Path(__file__).resolve().parents[2]
# Nights of these tests end after some steps; the lease of one must not keep the next waiting.
OVERRIDES = {"window.length_days": 3, "window.overlap_days": 1, "runner.lease_minutes": 1e-6}
FIRST = datetime(2026, 1, 1)
DIMENSION = 8


def vector_of(item_id: str) -> np.ndarray:
    """The embedding that an item is delivered with, float32 [8]; not of unit length."""
    return np.random.default_rng(zlib.crc32(item_id.encode())).standard_normal(DIMENSION).astype(np.float32)


def write_items(logs: Path, item_ids: Sequence[str]) -> None:
    """Writes the catalogue as it is now; every third id is good."""
    vectors = np.stack([vector_of(each) for each in item_ids])
    items = {
        "item_id": pa.array(item_ids),
        "attr_quality": pa.array([zlib.crc32(each.encode()) % 3 == 0 for each in item_ids]),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
    }
    logs.mkdir(exist_ok=True)
    pq.write_table(pa.table(items), logs / "items.parquet")


def write_day(
    logs: Path, day: int, rows: int = 40, name: str = "part", on: int | None = None, items: int = 60, **columns: list
) -> None:
    """Writes rows of a day (the one of the partition if `on` is None) into its partition, on items `i0` and on."""
    rng = np.random.default_rng([day, rows, len(name)])
    moment = FIRST + timedelta(days=(on if on is not None else day) - 1)
    content = {
        "sequence_id": [f"s{day}-{name}-{number // 5}" for number in range(rows)],
        "item_id": [f"i{value}" for value in rng.integers(0, items, rows)],
        "timestamp": [moment + timedelta(minutes=number) for number in range(rows)],
    } | columns
    folder = logs / "interactions" / f"date={FIRST.date() + timedelta(days=day - 1)}"
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"sequence_id": pa.string(), "item_id": pa.string(), "timestamp": pa.timestamp("us")}
    pq.write_table(pa.table({c: pa.array(v, kinds[c]) for c, v in content.items()}), folder / f"{name}.parquet")


def runner(logs: Path, name: str, end: int | None, start: int | None = None, **fields: object) -> StepRunner:
    """A run that reads the window that ends with a day of January; everything if None."""
    conf: dict = {"catalogue": str(logs), "preset": "tiny", "overrides": OVERRIDES, **fields}
    if end:
        conf["window"] = {"end": f"2026-01-{end:02d}"} | ({"start": f"2026-01-{start:02d}"} if start else {})
    return StepRunner(REGISTRY, str(logs.parent / "runs" / name), ROOT / "params.yaml", conf)
