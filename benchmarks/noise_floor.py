"""`python -m benchmarks.noise_floor RUN --into DIR`: how far Joint@K and Same@K move when nothing but the seed changes.

Takes a finished run and trains its stages again under other seeds, on the same catalogue, patterns, trajectories, index
and cases; each evaluation is that of the run. What two such models differ by is what a gain must exceed to be more than
another seed (`gate.noise_floor`, docs/explanation/gate.md).
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from pathlib import Path

import numpy as np

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.core.storage import Storage
from modit.data.splits import HOLDOUTS
from modit.evaluate.storage import load_evaluation

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
TRAINED = ("pretrain", "continue_pretrain", "finetune", "hppo_round", "choose_readout", "fit_second_stage", "evaluate")
FIGURES = ("joint", "same")


def main() -> None:
    """Trains, judges, and prints a table; a seed that is there already is not trained again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder for the runs of other seeds")
    parser.add_argument("--seeds", default="1,2,3,4", help="(default %(default)s); the run's own counts too")
    chosen = parser.parse_args()
    runs = [chosen.run, *(train_again(chosen.run, chosen.into, int(seed)) for seed in chosen.seeds.split(","))]
    print(f"{len(runs)} seeds, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| domain | split | K | Joint, mean | sd | two seeds differ by, 95 % | Same, mean | sd |")
    print("|---|---|---|---|---|---|---|---|")
    for domain in StepRunner(REGISTRY, str(chosen.run), PARAMS).domains():
        evaluations = [load_evaluation(run / "evaluation" / domain) for run in runs]
        for split in HOLDOUTS:
            print(line(domain, split, [content["splits"][split] for content in evaluations], evaluations[0]["k"]))


def train_again(run: Path, into: Path, seed: int) -> Path:
    """The same run under another seed, from the first stage that draws on it for training."""
    target = into / f"seed-{seed}"
    if not target.exists():
        shutil.copytree(run, target, ignore=shutil.ignore_patterns(".*", "mlflow*"))
        config = Storage(str(run)).read_json("run.json") or {}
        Storage(str(target)).write_json("run.json", config | {"seed": seed})
    runner = StepRunner(REGISTRY, str(target), PARAMS)
    for step in REGISTRY.steps:
        if step.name.startswith(TRAINED):
            for domain in runner.domains() if step.per_domain else [None]:
                runner.execute(step.name, domain)
    return target


def line(domain: str, split: str, results: list[dict], k: int) -> str:
    """A row of the table, in percent and points."""
    rows = [next(row for row in result["rows"] if row["name"] == "HPPO") for result in results]
    mean, deviation = (
        {name: measure([row[name] for row in rows]) for name in FIGURES} for measure in (np.mean, spread)
    )
    apart = 1.96 * np.sqrt(2) * deviation["joint"]
    cells = [domain, split, k, *(f"{100 * value:.1f}" for value in (mean["joint"], deviation["joint"], apart))]
    cells += [f"{100 * value:.1f}" for value in (mean["same"], deviation["same"])]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def spread(values: list[float]) -> float:
    """Standard deviation of a sample."""
    return float(np.std(values, ddof=1))


if __name__ == "__main__":
    main()
