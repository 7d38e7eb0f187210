"""Measures validation against reading the same files twice with pyarrow: seconds, memory, Great Expectations' share.

PYTHONPATH=src:. python benchmarks/bench_validation.py [--rows 10000000] [--retail ../shared/data/retail]

Two logs, in daily partitions: the real ones of retail, of as many shops at once as it takes, and made ones with many
more sequences and items. Reading and validating alternate, each in a process of its own; the least of some rounds
counts. Processor seconds are given beside those of the clock, for machines that have other things to do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DEFAULT = Path(os.environ.get("MODIT_DATA", Path(__file__).parents[2] / "shared" / "data")) / "retail"
ITEMS, DAYS, DIMENSION, SESSION_ROWS = 100_000, 30, 64, 7
FIRST = date(2011, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--retail", type=Path, default=DEFAULT)
    parser.add_argument("--work", type=Path, help="keep the logs in this folder")
    parser.add_argument("--part", choices=("read", "validate"), help=argparse.SUPPRESS)
    parser.add_argument("--logs", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        print(json.dumps({"read": read_twice, "validate": validate}[chosen.part](chosen.logs)))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}\n"
    )
    print("| logs | rows, files | read twice | validated | over reading | with suites | import | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        work = chosen.work or Path(folder)
        if chosen.retail.is_dir():
            report(
                "retail, many shops",
                retail_logs(work / f"retail-{chosen.rows}", chosen.retail, chosen.rows),
                chosen.rounds,
            )
        report("made sessions", made_logs(work / f"made-{chosen.rows}", chosen.rows), chosen.rounds)


def report(name: str, logs: Path, rounds: int) -> None:
    parts: dict[str, list[dict[str, float]]] = {"read": [], "validate": []}
    for _ in range(rounds):
        for part, found in parts.items():
            command = [sys.executable, __file__, "--part", part, "--logs", str(logs)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    read, best = (min(found, key=lambda each: each["seconds"]) for found in parts.values())
    files = len(list((logs / "interactions").rglob("*.parquet")))
    ratio, cpu_ratio = (best[unit] / read[unit] for unit in ("seconds", "cpu"))
    memory = max(each["memory"] for each in parts["validate"])
    cells = [
        name,
        f"{best['rows']:,}, {files}",
        f"{read['seconds']:.2f} s ({read['cpu']:.2f} cpu)",
        f"{best['seconds']:.2f} s ({best['cpu']:.2f} cpu)",
        f"{ratio:.2f} ({cpu_ratio:.2f} cpu)",
        f"+{best['judging']:.2f} s",
        f"{best['importing']:.1f} s",
        f"{memory:.2f} GB",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def read_twice(logs: Path) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(2):
        pq.read_table(logs / "interactions", partitioning=None)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "memory": _peak()}


def validate(logs: Path) -> dict[str, float]:
    from modit.core.sections import ValidationParams
    from modit.data.expectations import judge
    from modit.data.interactions import read_interactions
    from modit.data.items import read_items
    from modit.data.tolerance import Tolerance
    from modit.data.window import TimeRules, Window

    params = ValidationParams()
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        items = read_items(logs, Path(folder))
        start, cpu = time.perf_counter(), time.process_time()
        found = read_interactions(logs, items.item_ids, Path(folder), TimeRules(Window()), Tolerance.of(params))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        memory = _peak()
    start = time.perf_counter()
    import great_expectations  # noqa: F401

    importing = time.perf_counter() - start
    judge(found.facts, [], params.drift)  # the first one loads its templates
    start = time.perf_counter()
    judge([*items.facts, *found.facts], [], params.drift)
    judging = time.perf_counter() - start
    return {
        "seconds": seconds,
        "cpu": cpu,
        "judging": judging,
        "importing": importing,
        "memory": memory,
        "rows": found.counts.rows,
    }


def retail_logs(folder: Path, retail: Path, rows: int) -> Path:
    """Real rows, one copy a shop, on the same days."""
    if folder.exists():
        return folder
    table = pq.read_table(retail / "interactions.parquet")
    day = table["timestamp"].cast(pa.date32())
    _write_items(folder, pq.read_table(retail / "items.parquet"))
    shops = -(-rows // len(table))
    kind = table.schema.field("sequence_id").type
    for value in pc.unique(day).to_pylist():
        mine = table.filter(pc.equal(day, pa.scalar(value, pa.date32())))
        names = mine["sequence_id"].to_pylist()
        copies = [
            mine.set_column(0, "sequence_id", pa.array([f"{name}/{shop}" for name in names], kind))
            for shop in range(shops)
        ]
        _write_day(folder, value, pa.concat_tables(copies))
    return folder


def made_logs(folder: Path, rows: int) -> Path:
    """Sessions of some minutes in the order of time, over popular and rare items."""
    if folder.exists():
        return folder
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ITEMS, DIMENSION)).astype(np.float32)
    ids = pa.array([f"item-{number:08d}" for number in range(ITEMS)])
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION)
    _write_items(
        folder, pa.table({"item_id": ids, "attr_x": pa.array(rng.random(ITEMS) < 0.1), "embedding": embeddings})
    )
    daily = rows // DAYS
    for number in range(DAYS):
        sessions = daily // SESSION_ROWS
        second = np.sort(rng.integers(0, 86_400, daily))
        lag = rng.integers(0, max(2, sessions // 200), daily)
        session = np.clip(second * sessions // 86_400 - lag, 0, None) + number * sessions
        item = (ITEMS * rng.random(daily) ** 2).astype(np.int64)
        midnight = np.datetime64(FIRST + timedelta(days=number), "us")
        columns = {
            "sequence_id": pa.array([f"session-{value:09d}" for value in session.tolist()]),
            "item_id": ids.take(pa.array(item)),
            "timestamp": pa.array(midnight + second.astype("timedelta64[s]")),
        }
        _write_day(folder, FIRST + timedelta(days=number), pa.table(columns))
    return folder


def _write_items(folder: Path, table: pa.Table) -> None:
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "items.parquet")


def _write_day(folder: Path, day: date, table: pa.Table) -> None:
    place = folder / "interactions" / f"date={day}"
    place.mkdir(parents=True)
    pq.write_table(table, place / "part.parquet")


def _peak() -> float:
    """Peak resident memory of this process in GB, from the kernel: ru_maxrss also counts its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e6
    return float("nan")


if __name__ == "__main__":
    main()
