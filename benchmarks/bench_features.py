"""Materialising a catalogue's embeddings into the online store, and looking up seeds there.

Run `PYTHONPATH=src:. OMP_NUM_THREADS=1 python benchmarks/bench_features.py --items 1000000`. Each line is a fresh
process: rows are written offline first, then materialised by our writer (docs/adr/0012) or by Feast's own
`materialize`; memory is the peak of the resident set, and what it was before (imports and ids). Look-ups are of random
items through `OnlineItems.embeddings`, after a warm-up; on a machine that others use, the CPU time of the process says
what it would take alone (with Redis, without the server's share). Redis is a server of our own on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from modit.core.step import ALL_BUCKETS
from modit.features.lookup import OnlineItems
from modit.features.params import FeatureParams
from modit.features.publish import Materialiser
from modit.features.rows import OfflineRows
from modit.features.store import Published, declarations, open_store
from modit.features.tables import EMBEDDING_VIEW, FeatureTable

REPOSITORY = Path(__file__).resolve().parents[1] / "feature_repo"
COLUMNS = (
    "online store",
    "writer",
    "items",
    "s",
    "items/s",
    "peak MB",
    "before MB",
    "look-up p50 ms",
    "p99 ms",
    "own CPU p99 ms",
)
NOW = datetime.now(UTC)


def status(field: str) -> float:
    """MB of this process by /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**10


def write_rows(rows: OfflineRows, items: int, dimension: int) -> np.ndarray:
    """A catalogue of random unit vectors offline; its ids."""
    ids = np.array([f"item-{number:09d}" for number in range(items)])
    vectors = np.random.default_rng(0).standard_normal((items, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = FeatureTable(EMBEDDING_VIEW, ids, {"embedding": vectors})
    rows.append(table, np.arange(items), ids[:0], NOW - timedelta(hours=1), NOW)
    return ids


def child(writer: str, items: int, dimension: int, seeds: int, lookups: int, folder: Path) -> None:
    """Prints what one process measured; by then the rows are offline."""
    Published(NOW.isoformat()).write(folder)
    rows, store = OfflineRows(folder), open_store(folder)
    store.apply(declarations(REPOSITORY, folder))
    view, before = store.get_feature_view(EMBEDDING_VIEW), status("VmRSS")
    started = time.perf_counter()
    if writer == "ours":
        params = FeatureParams(overlap_hours=0)
        Materialiser(store, rows, params, contextlib.nullcontext, ALL_BUCKETS).run(view)
    elif writer == "feast":
        with contextlib.redirect_stdout(io.StringIO()):
            store.materialize(NOW - timedelta(days=1), NOW, [EMBEDDING_VIEW])
    seconds, peak = time.perf_counter() - started, status("VmHWM")
    lookup, chosen, times, own = OnlineItems(store), np.random.default_rng(1), [], []
    for number in range(lookups + 20):
        asked = [f"item-{place:09d}" for place in chosen.integers(0, items, seeds)]
        started, used = time.perf_counter(), time.process_time()
        found = lookup.embeddings(asked)
        times.append(time.perf_counter() - started)
        own.append(time.process_time() - used)
        assert found.shape == (seeds, dimension), number
    percentiles = [1e3 * float(np.percentile(times[20:], share)) for share in (50, 99)]
    percentiles.append(1e3 * float(np.percentile(own[20:], 99)))
    print(json.dumps([seconds, items / seconds, peak, before, *percentiles]))


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A server in memory only; its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def measure(kind: str, writer: str, items: int, options: argparse.Namespace) -> None:
    """Prints one line of the table."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name) / "store"
        environment = {key: value for key, value in os.environ.items() if key != "MODIT_REDIS"}
        if kind == "redis":
            environment["MODIT_REDIS"] = stack.enter_context(redis_server(Path(name)))
        sizes = [str(value) for value in (items, options.dimension, options.seeds, options.lookups)]
        for part in ("rows", writer):
            command = [sys.executable, __file__, "--child", part, *sizes, str(folder)]
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if result.returncode:
                print(f"| {kind} | {writer} | {items:,} | failed, status {result.returncode} |", flush=True)
                print(result.stderr[-2000:], file=sys.stderr)
                return
    seconds, rate, peak, before, middle, high, own = json.loads(result.stdout.splitlines()[-1])
    print(
        f"| {kind} | {writer} | {items:,} | {seconds:.1f} | {rate:,.0f} | {peak:,.0f} | {before:,.0f} | "
        f"{middle:.2f} | {high:.2f} | {own:.2f} |",
        flush=True,
    )


def main() -> None:
    """Prints the machine and the table."""
    if sys.argv[1:2] == ["--child"]:
        writer, *sizes, folder = sys.argv[2:]
        if writer == "rows":
            write_rows(OfflineRows(Path(folder)), int(sizes[0]), int(sizes[1]))
            return None
        return child(writer, *map(int, sizes), Path(folder))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", nargs="+", type=int, default=[50_000])
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "redis"], choices=["sqlite", "redis"])
    parser.add_argument("--writers", nargs="+", default=["ours", "feast"], choices=["ours", "feast"])
    parser.add_argument("--seeds", type=int, default=150, help="items of a look-up")
    parser.add_argument("--lookups", type=int, default=1000)
    options = parser.parse_args()
    import feast

    if "redis" in options.stores and shutil.which("redis-server") is None:
        parser.error("redis-server is not installed")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{platform.machine()}, {platform.platform()}, {os.cpu_count()} cores, load {load}, feast {feast.__version__}"
    )
    print(f"embeddings of {options.dimension} numbers; look-ups of {options.seeds} seeds, {options.lookups} times\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for items in options.items:
        for kind in options.stores:
            for writer in options.writers:
                measure(kind, writer, items, options)
    return None


if __name__ == "__main__":
    main()
