"""Measures validation against reading the same files twice with pyarrow: seconds, memory, Great Expectations' share.

PYTHONPATH=src:. python benchmarks/bench_validation.py [--rows 10000000] [--retail ../shared/data/retail]
PYTHONPATH=src:. python benchmarks/bench_validation.py --rows 100000000 --rounds 1 --logs made --work FOLDER

Two logs, in daily partitions: the real ones of retail, of as many shops at once as it takes, and made ones with many
more sequences and items. Reading and validating alternate, each in a process of its own; the least of some rounds
counts. Processor seconds are given beside those of the clock, for machines that have other things to do. Memory is that
of a run of its own from reading to the saved catalogue, profile included: peak, and peak of what is anonymous, that is
without pages of files, which the system takes back when it needs them (looked at every ten milliseconds).
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
# What the step `validate_logs` asks for.
MEMORY_GB = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--retail", type=Path, default=DEFAULT)
    parser.add_argument("--work", type=Path, help="keep the logs in this folder")
    parser.add_argument("--logs", choices=("both", "retail", "made"), default="both")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        print(json.dumps(PARTS[chosen.part](chosen.source)))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}\n"
    )
    print("| logs | rows, files | read twice | validated | over reading | with suites | import | memory | anonymous |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        work = chosen.work or Path(folder)
        if chosen.logs != "made" and chosen.retail.is_dir():
            report(
                "retail, many shops",
                retail_logs(work / f"retail-{chosen.rows}", chosen.retail, chosen.rows),
                chosen.rounds,
            )
        if chosen.logs != "retail":
            report("made sessions", made_logs(work / f"made-{chosen.rows}", chosen.rows), chosen.rounds)


def report(name: str, logs: Path, rounds: int) -> None:
    parts: dict[str, list[dict[str, float]]] = {"read": [], "validate": []}
    for _ in range(rounds):
        for part, found in parts.items():
            found.append(run(part, logs))
    memory = run("publish", logs)
    read, best = (min(found, key=lambda each: each["seconds"]) for found in parts.values())
    files = len(list((logs / "interactions").rglob("*.parquet")))
    ratio, cpu_ratio = (best[unit] / read[unit] for unit in ("seconds", "cpu"))
    cells = [
        name,
        f"{best['rows']:,}, {files}",
        f"{read['seconds']:.2f} s ({read['cpu']:.2f} cpu)",
        f"{best['seconds']:.2f} s ({best['cpu']:.2f} cpu)",
        f"{ratio:.2f} ({cpu_ratio:.2f} cpu)",
        f"+{best['judging']:.2f} s",
        f"{best['importing']:.1f} s",
        f"{memory['memory']:.2f} GB",
        f"{memory['anonymous']:.2f} GB",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def run(part: str, logs: Path) -> dict[str, float]:
    """Runs a part in a process of its own, and looks at its memory meanwhile."""
    command = [sys.executable, __file__, "--part", part, "--source", str(logs)]
    anonymous = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while part == "publish" and process.poll() is None:
            anonymous = max(anonymous, _memory("RssAnon", process.pid))
            time.sleep(0.01)
        said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"part {part} ended with status {process.returncode}")
    return json.loads(said) | {"anonymous": anonymous}


def read_twice(logs: Path) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(2):
        pq.read_table(logs / "interactions", partitioning=None)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def validate(logs: Path) -> dict[str, float]:
    from modit.data.engine import Engine
    from modit.data.expectations import judge
    from modit.data.interactions import read_interactions
    from modit.data.items import read_items
    from modit.data.mapping import Mapping
    from modit.data.params import ValidationParams
    from modit.data.table import Ingest
    from modit.data.window import Window

    params = ValidationParams()
    with tempfile.TemporaryDirectory(prefix="modit-", dir=logs.parent) as name:
        folder = Path(name)
        with Engine(folder, MEMORY_GB) as engine:
            ingest = Ingest(logs, engine, folder, Window(), params, Mapping())
            items = read_items(ingest)
            start, cpu = time.perf_counter(), time.process_time()
            found = read_interactions(ingest)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    import great_expectations  # noqa: F401

    importing = time.perf_counter() - start
    judge(found.measurements, [], params)  # the first one loads its templates
    start = time.perf_counter()
    judge([*items.measurements, *found.measurements], [], params)
    judging = time.perf_counter() - start
    return {
        "seconds": seconds,
        "cpu": cpu,
        "judging": judging,
        "importing": importing,
        "rows": found.counts.rows,
    }


def publish(logs: Path) -> dict[str, float]:
    """Reads, describes and saves a catalogue: what the step does, but for Great Expectations."""
    from modit.data.params import ValidationParams
    from modit.data.profile import learn_codebook, profile
    from modit.data.validate import inspect
    from modit.data.window import Window

    with tempfile.TemporaryDirectory(prefix="modit-", dir=logs.parent) as folder:
        found = inspect(logs, Path(folder), ValidationParams(), Window())
        assert found.interactions is not None  # made without bad items
        profile(found.items, found.interactions, None, learn_codebook(found.items.embeddings, 32))
        found.catalog.save(Path(folder))
    return {"memory": _memory("VmHWM", os.getpid())}


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
    ids = _names("item-", np.arange(ITEMS), 8)
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
            "sequence_id": _names("session-", session, 9),
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


def _names(prefix: str, numbers: np.ndarray, digits: int) -> pa.Array:
    words = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), digits, "0")
    return pc.binary_join_element_wise(prefix, words, "")


def _memory(field: str, process: int) -> float:
    """GB from the kernel's status of a process; 0 when it is gone. (ru_maxrss also counts its parent.)"""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith(field)), 0.0)


PARTS = {"read": read_twice, "validate": validate, "publish": publish}

if __name__ == "__main__":
    main()
