"""What a snapshot costs: the first, the same again, and the next night, of a window of daily partitions.

PYTHONPATH=src:. python benchmarks/bench_snapshot.py --days 30 --megabytes 10
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from modit.core.storage import Storage, sha256_of_file
from modit.release.versioning.record import environment
from modit.release.versioning.version_store import TrackedFile, VersionStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="partitions of a window")
    parser.add_argument("--megabytes", type=float, default=10, help="size of a partition")
    chosen = parser.parse_args()
    print(environment()["machine"], f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = Storage(str(folder / "logs"))
        (folder / "logs").mkdir()
        for day in range(chosen.days + 1):
            (folder / "logs" / f"{day:03}").write_bytes(os.urandom(int(chosen.megabytes * 1e6)))
        store = VersionStore(folder / "versions")
        for label, start in (("first", 0), ("same again", 0), ("next night", 1)):
            names = [f"{day:03}" for day in range(start, start + chosen.days)]
            raw = {name: TrackedFile(place, name, sha256_of_file(folder / "logs" / name)) for name in names}
            begin, used = time.perf_counter(), os.times()
            store.track({"raw": raw})
            after = os.times()
            cpu = sum(after[:4]) - sum(used[:4])
            print(f"{label:<10}  {time.perf_counter() - begin:6.2f} s, processor {cpu:6.2f} s")


if __name__ == "__main__":
    main()
