"""An index in several files: CPU seconds to build and to search it, and peak anonymous memory, kind by kind.

Run `PYTHONPATH=src:. OMP_NUM_THREADS=1 python benchmarks/bench_index_shards.py --items 1000000`. Embeddings are mapped
from a file, as a catalogue's are; what is mapped does not count. Each build is a process of its own. The answers must
be those of one file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

KINDS = ("flat", "ivf", "ivf_sq8")
QUERIES, K = 256, 100


def write_embeddings(file: Path, items: int, dimension: int) -> None:
    """Unit vectors around a thousand centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, dimension), dtype=np.float32)
    matrix = np.lib.format.open_memmap(file, "w+", np.float32, (items, dimension))
    for start in range(0, items, 2**16):
        count = min(2**16, items - start)
        block = centres[rng.integers(0, 1000, count)] + 0.5 * rng.standard_normal((count, dimension), dtype=np.float32)
        matrix[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)


def anonymous_mb() -> float:
    """Memory of this process that no file backs, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))


def child(file: Path, kind: str, shards: int) -> None:
    """Prints what one process measured."""
    from modit.index.item_index import ItemIndex
    from modit.index.params import IndexParams

    peak, done, before = [0.0], threading.Event(), anonymous_mb()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous_mb() - before)

    embeddings = np.load(file, mmap_mode="r")
    ids = np.char.add("i", np.arange(len(embeddings)).astype(str))
    config = IndexParams(kind=kind, shards=shards, threads=1, recall_target=0.5)  # type: ignore[arg-type]
    threading.Thread(target=watch, daemon=True).start()
    started = time.process_time()
    index = ItemIndex.build(embeddings, ids, config, file.parent / f"{kind}-{shards}")
    built = time.process_time() - started
    allowed = np.arange(len(embeddings)) % 3 > 0
    found = []
    started = time.process_time()
    for mask in (None, allowed):
        found.append(index.search(np.asarray(embeddings[:QUERIES]), K, mask))
    searched = time.process_time() - started
    done.set()
    answers = hashlib.sha256(b"".join(part.tobytes() for each in found for part in each)).hexdigest()[:8]
    print(f"| {index.kind} | {shards} | {built:.1f} | {searched:.2f} | {peak[0]:.0f} | {answers} |")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--child", nargs=3, metavar=("FILE", "KIND", "SHARDS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(Path(chosen.child[0]), chosen.child[1], int(chosen.child[2]))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; {chosen.items:,} x {chosen.dimension}, {QUERIES} queries, k {K}"
    )
    print("| kind | shards | build CPU s | search CPU s | peak MB | answers |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "embeddings.npy"
        write_embeddings(file, chosen.items, chosen.dimension)
        for kind in KINDS:
            for shards in chosen.shards:
                subprocess.run([sys.executable, __file__, "--child", str(file), kind, str(shards)], check=True)


if __name__ == "__main__":
    main()
