"""Time, memory and bytes of every step against the number of items, and the exponent of each step's time.

Run `PYTHONPATH=src:. OMP_NUM_THREADS=2 python benchmarks/bench_growth.py --out growth.json` (hours for all).
For each size a demo world with one domain is made, and every step runs as `python -m components STEP`, a fresh process
each, with nothing reused. The preset is `tiny` unless another is named: how long training takes does not depend on the
number of items, so its steps are kept short. What `--out` holds already is not measured again.

Time is that of the processor, which other work on the machine changes less than the clock; memory the largest resident
set of the process, mapped files included; bytes those of the step's artifacts. The exponent is the slope of log(time)
against log(items) by least squares, over all sizes and over the last two, where start-up (2 to 7 s) counts least.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from components.registry import REGISTRY
from modit.core.step import Step

Growth = dict[str, dict[str, dict[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/growth"), help="worlds and runs (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="print the table of an earlier --out, measure nothing"
    )
    chosen = parser.parse_args()
    place = chosen.table or chosen.out
    measured: Growth = json.loads(place.read_text()) if place.exists() else {}
    for items in [] if chosen.table else chosen.items:
        rows = measured.setdefault(str(items), {})
        for step, row in measure(items, chosen.preset, chosen.folder.resolve(), done=set(rows)):
            rows[step] = row
            place.write_text(json.dumps(measured, indent=1) + "\n")
            print(items, step, row, flush=True)
    print(table({int(items): rows for items, rows in measured.items()}))


def measure(items: int, preset: str, folder: Path, done: set[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Runs every step that is not done once on a world of that many items; yields step and what it took."""
    world, run = folder / f"world-{items}", folder / f"run-{items}"
    if not done:
        shutil.rmtree(run, ignore_errors=True)
        demo = ["-m", "modit.cli", "demo-world", "--out", str(world), "--items", str(items), "--domains", "1"]
        yield "demo_world", process(demo)
    conf = {"catalogue": str(world), "preset": preset, "overrides": {"runner.cross_run_cache": False}}
    for step in [step for step in REGISTRY.of("retrain").steps if step.name not in done]:
        command = ["-m", "components", step.name, "--run", str(run), "--conf", json.dumps(conf)]
        if step.per_domain:
            command += ["--domain", json.loads((run / "patterns/domains.json").read_text())["domains"][0]]
        yield step.name, process(command) | {"bytes": written(step, run)}


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


def exponent(rows: dict[int, dict[str, float]]) -> float:
    """Slope of log(processor time) against log(items); NaN of a single size."""
    if len(rows) < 2:
        return float("nan")
    seconds = [row["cpu_seconds"] for row in rows.values()]
    return float(np.polyfit(np.log(list(rows)), np.log(seconds), 1)[0])


def table(measured: dict[int, dict[str, dict[str, float]]]) -> str:
    """Markdown: a row a step, processor seconds, GB of memory and MB written of the largest size, and the exponent."""
    sizes = sorted(measured)
    header = [*(f"{items:,} items: s" for items in sizes), "GB", "MB written", "exponent", "of the last two"]
    lines = [f"| step | {' | '.join(header)} |", "|---" * (len(header) + 1) + "|"]
    steps = REGISTRY.of("retrain").steps
    for step in [step.name for step in steps if any(step.name in rows for rows in measured.values())]:
        rows = {items: measured[items][step] for items in sizes if step in measured[items]}
        most, last = rows[max(rows)], {items: rows[items] for items in sorted(rows)[-2:]}
        cells = [f"{rows[items]['cpu_seconds']:,.1f}" if items in rows else "not measured" for items in sizes]
        cells += [f"{most['megabytes'] / 1024:.1f}", f"{most.get('bytes', 0) / 1e6:,.1f}"]
        cells += ["" if np.isnan(slope) else f"{slope:.2f}" for slope in (exponent(rows), exponent(last))]
        lines.append(f"| `{step}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
