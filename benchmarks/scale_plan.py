"""What a night costs at 100 million and a billion items: arithmetic on the measured growth, no measurement.

Run `PYTHONPATH=src:. python benchmarks/scale_plan.py benchmarks/growth.json`. For each step whose work grows with the
items, the processor seconds per item between the two largest measured sizes are taken as constant, beyond what grows
faster (`FASTER`). Where the larger size took less time, because another kind of index answers, all its seconds over its
items are taken. Training is left out (`TRAINING`). Prices are assumptions, to be replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from components.registry import REGISTRY

SIZES = (100_000_000, 1_000_000_000)
# Exponent of the work where it is above 1, and why: an inverted file compares each item with 4 sqrt(N) centroids.
FASTER = {"stage_index": 1.5}
# Work that does not grow with the items but with the preset.
TRAINING = ("pretrain", "continue_pretrain", "finetune", "hppo_round", "hppo_variants", "export_sampler")
CORE_HOUR = 0.05  # US dollars, a core of a general machine with 8 GB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("growth", type=Path)
    parser.add_argument("--domains", type=int, default=10)
    parser.add_argument("--cores", type=int, default=64)
    chosen = parser.parse_args()
    measured = {int(items): rows for items, rows in json.loads(chosen.growth.read_text()).items()}
    print(table(measured, chosen.domains, chosen.cores))


def core_hours(measured: dict[int, dict[str, dict[str, float]]], step: str, items: int) -> float:
    """Processor hours of one task of a step at `items`, from the two largest sizes measured of it."""
    less, most = sorted(size for size, rows in measured.items() if step in rows)[-2:]
    before, after = measured[less][step]["cpu_seconds"], measured[most][step]["cpu_seconds"]
    each = (after - before) / (most - less) if after > before else after / most
    return each * items * (items / most) ** (FASTER.get(step, 1.0) - 1) / 3600


def table(measured: dict[int, dict[str, dict[str, float]]], domains: int, cores: int) -> str:
    """Markdown: core hours of each step at both sizes, hours on that many cores, and dollars."""
    known = {step for rows in measured.values() for step in rows}
    steps = [step.name for step in REGISTRY.steps if step.name in known and not step.name.startswith(TRAINING)]
    lines = [f"| step | {' | '.join(f'{size:,} items: core hours' for size in SIZES)} |", "|---|---|---|"]
    totals = [0.0, 0.0]
    for step in steps:
        tasks = domains if REGISTRY.get(step).per_domain else 1
        hours = [tasks * core_hours(measured, step, size) for size in SIZES]
        if hours[-1] >= 0.5:
            totals = [total + each for total, each in zip(totals, hours, strict=True)]
            lines.append(f"| `{step}`{f' x {tasks}' if tasks > 1 else ''} | {hours[0]:,.1f} | {hours[1]:,.1f} |")
    lines.append(f"| together | {totals[0]:,.0f} | {totals[1]:,.0f} |")
    lines.append(f"| hours on {cores} cores | {totals[0] / cores:,.1f} | {totals[1] / cores:,.1f} |")
    dollars = [total * CORE_HOUR for total in totals]
    lines.append(f"| dollars at {CORE_HOUR} a core hour | {dollars[0]:,.0f} | {dollars[1]:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
