"""Prints the regime of demo worlds: `python benchmarks/demo_regime.py --items 20000 --seeds 5`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from modit.data.catalog import POSITIVE
from modit.data.demo import DemoParameters, write_demo_world
from modit.data.validate import validate_logs
from tests.regime import measure_regime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--domains", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5, help="number of worlds")
    chosen = parser.parse_args()
    print("| items | seed | domain | share | Spearman | avg Attr | avg Same | avg Joint | tail Same | tail Joint |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for seed in range(chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            world = Path(folder) / "world"
            write_demo_world(world, DemoParameters(items=chosen.items, domains=chosen.domains, seed=seed))
            items, _ = validate_logs(world, Path(folder))
        for domain, verdicts in sorted(items.verdicts.items()):
            found = measure_regime(items.embeddings, verdicts == POSITIVE)
            shares = (found.share, found.average.attr, found.average.same, found.average.joint)
            share, attr, same, joint = (f"{100 * value:.1f}" for value in shares)
            tail = f"{100 * found.tail.same:.1f} | {100 * found.tail.joint:.1f}"
            line = f"{share} | {found.spearman:.2f} | {attr} | {same} | {joint} | {tail}"
            print(f"| {chosen.items} | {seed} | {domain} | {line} |", flush=True)


if __name__ == "__main__":
    main()
