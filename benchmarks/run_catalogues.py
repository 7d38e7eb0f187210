"""Runs the main job on catalogues in one Python process, without an orchestrator.

    PYTHONPATH=src:. python benchmarks/run_catalogues.py --runs runs ../shared/data/goodbooks ../shared/data/spotify

A run that stands already is resumed: what is unchanged is skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from components.registry import REGISTRY
from modit.core.output import set_up_logging
from modit.core.runner import StepRunner


def run_catalogue(catalogue: Path, runs: Path, preset: str, seed: int, overrides: dict[str, object]) -> Path:
    """Runs every step in order; returns the run's folder."""
    conf = {
        "catalogue": str(catalogue.resolve()),
        "domains": "all",
        "seed": seed,
        "preset": preset,
        "overrides": overrides,
    }
    folder = runs / f"{catalogue.name}-{preset}-{seed}"
    runner = StepRunner(REGISTRY, str(folder), Path("params.yaml"), conf)
    for step in REGISTRY.steps:
        started = time.perf_counter()
        for domain in runner.domains() if step.per_domain else (None,):
            runner.execute(step.name, domain)
        print(f"{folder.name}: {step.name} {time.perf_counter() - started:.1f} s", flush=True)
    return folder


def main() -> None:
    """Runs the catalogues named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogues", nargs="+", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overrides", type=json.loads, default={})
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    set_up_logging()
    for catalogue in chosen.catalogues:
        run_catalogue(catalogue, chosen.runs, chosen.preset, chosen.seed, chosen.overrides)


if __name__ == "__main__":
    main()
