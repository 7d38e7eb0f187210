"""Labelling and publishing with several shards at once: seconds, CPU seconds and peak memory of a task.

Run `PYTHONPATH=src:. OMP_NUM_THREADS=1 python benchmarks/bench_shards.py --items 100000`. A demo world goes through the
steps before; then each step is run with 1, 2, 4, ... shards, all at once, in processes as orchestrators start them.
Every time the digest of the artifact must be the same. Redis online if MODIT_REDIS has its address, else SQLite.
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
from pathlib import Path

from modit.core.step import Shard

ROOT = Path(__file__).resolve().parents[1]
DOMAIN = "popular"
BEFORE = ("validate_logs", "assign_patterns", "stage_index", "label_anchors", "fit_metric_predictor")
STEPS = {"label_anchors": ("retrieval_labels", ["--domain", DOMAIN]), "publish_features": ("features", [])}


class World:
    """A run on a demo world, ready for the steps that are measured."""

    def __init__(self, folder: Path, items: int, anchors: int) -> None:
        self.folder, world = folder, folder / "world"
        self.command = [sys.executable, "-m", "components"]
        subprocess.run(
            [sys.executable, "-m", "modit.cli", "demo-world", "--out", str(world), "--items", str(items)], check=True
        )
        overrides = {"label_anchors.anchors": anchors}
        conf = {"catalogue": str(world), "preset": "small", "domains": [DOMAIN], "overrides": overrides}
        for step in BEFORE:
            axis = ["--domain", DOMAIN] if step in ("label_anchors", "fit_metric_predictor") else []
            self.finish(self.start(step, axis, "--conf", json.dumps(conf)))

    def start(self, step: str, axis: list[str], *more: str, **environment: str) -> subprocess.Popen[str]:
        """Starts one task."""
        command = [*self.command, step, "--run", str(self.folder / "run"), *axis, *more]
        variables = {**os.environ, **environment}
        return subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    @staticmethod
    def finish(process: subprocess.Popen[str]) -> tuple[dict, float, float]:
        """What a task said; its CPU seconds, and the most memory that it held, in MB."""
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, process.args
        return json.loads(said.splitlines()[-1]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3

    def measure(self, step: str, count: int) -> tuple[str, str]:
        """Runs a step with so many shards at once; its row, and the artifact's digest."""
        artifact, axis = STEPS[step]
        store, started = str(self.folder / f"store-{count}"), time.perf_counter()
        shards = [[*axis, "--shard", str(shard), "--no-cache"] for shard in Shard.all_of(count)]
        tasks = [self.finish(task) for task in [self.start(step, each, MODIT_FEATURES=store) for each in shards]]
        seconds, cpu = time.perf_counter() - started, [used for _, used, _ in tasks]
        manifest = json.loads(
            (self.folder / "run" / artifact / (axis[-1] if axis else "") / "manifest.json").read_text()
        )
        row = (
            f"| {step} | {count} | {seconds:.1f} | {max(cpu):.1f} | {sum(cpu):.1f} | {max(m for *_, m in tasks):.0f} |"
        )
        return row, manifest["digest"]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--anchors", type=int, default=20_000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2, 4])
    chosen = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {chosen.items:,} items")
    print(
        "| step | shards | s | CPU s, longest task | CPU s, all tasks | MB, largest task |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), chosen.items, chosen.anchors)
        for step in STEPS:
            found = [world.measure(step, count) for count in chosen.shards]
            print(*(row for row, _ in found), sep="\n", flush=True)
            assert len({digest for _, digest in found}) == 1, "the digest depends on the number of shards"


if __name__ == "__main__":
    main()
