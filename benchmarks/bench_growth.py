"""Time, memory and bytes of every step against the number of items, and the exponent of each step's time.

Run `PYTHONPATH=src:. OMP_NUM_THREADS=2 python benchmarks/bench_growth.py --out growth.json` (hours for all).
For each size a demo world with one domain is made, and every step runs as `python -m components STEP`, a fresh process
each, with nothing reused. The preset is `tiny` unless another is named: how long training takes does not depend on the
number of items, so its steps are kept short. A size that `--out` holds already is not measured again.

Time is wall clock; CPU that of the process; memory the largest resident set of the process (mapped files included);
bytes those of the step's artifacts. The exponent is the slope of log(time) against log(items) by least squares, of the
time over that of a step that does nothing (`--why`: interpreter, imports, parameters), and over sizes where the step
takes longer than that: below, start-up hides everything.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from components.registry import REGISTRY
from modit.core.step import Step

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/growth"), help="worlds and runs (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    chosen = parser.parse_args()
    measured = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    for items in chosen.items:
        if str(items) not in measured:
            measured[str(items)] = measure(items, chosen.preset, chosen.folder.resolve())
            chosen.out.write_text(json.dumps(measured, indent=1) + "\n")
    print(table({int(items): rows for items, rows in measured.items()}))


def measure(items: int, preset: str, folder: Path) -> dict[str, dict[str, float]]:
    """Runs every step once on a world of that many items; step -> seconds, cpu_seconds, megabytes, bytes."""
    world, run = folder / f"world-{items}", folder / f"run-{items}"
    shutil.rmtree(run, ignore_errors=True)
    demo = ["-m", "modit.cli", "demo-world", "--out", str(world), "--items", str(items), "--domains", "1"]
    found = {"demo_world": process(demo)}
    conf = {"catalogue": str(world), "preset": preset, "overrides": {"runner.cross_run_cache": False}}
    for step in REGISTRY.steps:
        command = ["-m", "components", step.name, "--run", str(run), "--conf", json.dumps(conf)]
        if step.per_domain:
            command += ["--domain", json.loads((run / "patterns/domains.json").read_text())["domains"][0]]
        start_up = process([*command, "--why"])["seconds"]
        found[step.name] = process(command) | {"start_up": start_up, "bytes": written(step, run)}
        print(items, step.name, found[step.name], flush=True)
    return found


def process(arguments: list[str]) -> dict[str, float]:
    """Runs a command of this Python to its end and says what it took."""
    started = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, *arguments],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)],
        )
        _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: status {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 2**10,
    }


def written(step: Step, run: Path) -> int:
    """Bytes of a step's artifacts."""
    return sum(file.stat().st_size for name in step.outputs for file in (run / name).rglob("*") if file.is_file())


def exponent(rows: dict[int, dict[str, float]]) -> float | None:
    """Slope of log(time without start-up) against log(items); None where fewer than two sizes can be told from it."""
    own = {items: row["seconds"] - row.get("start_up", 0.0) for items, row in rows.items()}
    told = {items: seconds for items, seconds in own.items() if seconds > max(1.0, rows[items].get("start_up", 0.0))}
    if len(told) < 2:
        return None
    return float(np.polyfit(np.log(list(told)), np.log(list(told.values())), 1)[0])


def table(measured: dict[int, dict[str, dict[str, float]]]) -> str:
    """Markdown: a row a step, seconds / GB of memory / MB written of each size, and the exponent."""
    sizes = sorted(measured)
    lines = [
        "| step | " + " | ".join(f"{items:,}" for items in sizes) + " | exponent |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for step in measured[sizes[-1]]:
        rows = {items: measured[items][step] for items in sizes if step in measured[items]}
        cells = [
            f"{row['seconds']:.1f} s, {row['megabytes'] / 1024:.1f} GB, {row.get('bytes', 0) / 1e6:,.0f} MB"
            for row in rows.values()
        ]
        slope = exponent(rows)
        lines.append(f"| `{step}` | {' | '.join(cells)} | {'-' if slope is None else f'{slope:.2f}'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
