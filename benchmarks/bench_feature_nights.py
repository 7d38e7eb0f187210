"""Publishing night after night into one feature store: what a night costs when many are there already.

Run `PYTHONPATH=src:. OMP_NUM_THREADS=1 python benchmarks/bench_feature_nights.py --nights 60`. Every night all
densities are refitted, one item in ten gets another pattern, one in two hundred goes and as many come. SQLite online.
Seconds and CPU seconds are of `publish`; the first night's have Feast's import.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from modit.features.params import FeatureParams
from modit.features.parity import references
from modit.features.publish import publish
from modit.features.rows import OfflineRows
from modit.features.store import open_store
from modit.features.tables import FeatureTable, Night, metric_view
from tests.unit.features.matrices import item_matrix

REPOSITORY = Path(__file__).resolve().parents[1] / "feature_repo"
DOMAINS = ["acclaimed", "popular", "recent"]
COLUMNS = ("night", "s", "CPU s", "row files", "rows MB", "registry kB", "services", "bulk read s", "join of 100 s")
SHOWN = (1, 2, 10, 30, 60)


def night_of(number: int, items: int, dimension: int, first: datetime) -> Night:
    """Tables of a night; what they say depends on its number and on nothing else."""
    going = max(1, items // 200)
    names = np.arange(number * going, number * going + items)
    ids, random = np.array([f"item-{name:09d}" for name in names]), np.random.default_rng(number)
    vectors = np.sin(names[:, None] * np.arange(1, dimension + 1) + 1).astype(np.float32)
    days = random.random(items, np.float32)
    tables = [
        FeatureTable("item_embedding", ids, {"embedding": vectors / np.linalg.norm(vectors, axis=1, keepdims=True)}),
        FeatureTable("item_activity", ids, {"interactions": names % 50, "days_since_seen": days}),
    ]
    for domain in DOMAINS:
        pattern = (names + number * (names % 10 == 0)) % 60
        density = random.random(items, np.float32)
        tables.append(FeatureTable(metric_view(domain), ids, {"pattern": pattern, "density": density}))
    return Night(first + timedelta(days=number), f"/runs/night-{number}", DOMAINS, tables)


def measure(folder: Path, night: Night, number: int) -> None:
    """Publishes one night, and prints its line where it is to be shown."""
    started, used = time.perf_counter(), time.process_time()
    publish(folder, REPOSITORY, night, FeatureParams())
    seconds, own = time.perf_counter() - started, time.process_time() - used
    if number not in SHOWN:
        return
    rows, store, table = OfflineRows(folder), open_store(folder), night.tables[0]
    started = time.perf_counter()
    item_matrix(rows, table.item_ids)
    bulk = time.perf_counter() - started
    started = time.perf_counter()
    asked = pd.DataFrame({"item_id": table.item_ids[:100], "event_timestamp": pd.Timestamp(datetime.now(UTC))})
    store.get_historical_features(asked, references(night.tables[2]), filter_by_created_timestamp=True).to_df()
    join, sizes = time.perf_counter() - started, [file.stat().st_size for file in rows.folder.rglob("*.parquet")]
    kilobytes, services = (folder / "registry.db").stat().st_size / 2**10, len(store.list_feature_services())
    print(
        f"| {number} | {seconds:.2f} | {own:.2f} | {len(sizes)} | {sum(sizes) / 2**20:.1f} | {kilobytes:.0f} | "
        f"{services} | {bulk:.2f} | {join:.2f} |",
        flush=True,
    )


def main() -> None:
    """Prints the machine and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--nights", type=int, default=60)
    options = parser.parse_args()
    os.environ.pop("MODIT_REDIS", None)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.items:,} items of {options.dimension} numbers\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    first = datetime.now(UTC) - timedelta(days=options.nights + 1)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.nights + 1):
            measure(Path(folder) / "store", night_of(number, options.items, options.dimension, first), number)


if __name__ == "__main__":
    main()
