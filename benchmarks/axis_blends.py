"""What the axes of a case are worth before any training: blends of seed means with steps, on validation cases.

    PYTHONPATH=src:. python benchmarks/axis_blends.py runs/goodbooks-small-0 runs/retail-small-0

Each figure is mean Joint@K in per cent at the best length of the step, searched without the test items (docs/adr/0011).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from modit.data.splits import VALIDATIONS, Split
from modit.hppo.candidates import axis_candidates
from modit.hppo.params import HPPOParams
from modit.hppo.round import RoundCases, RoundContext, case_blends, load_context
from modit.hppo.validation import Validator
from modit.metric.list_metrics import list_metrics
from modit.model.axes import Geometry
from modit.model.readout import BLENDS, step_directions
from modit.params import Params, load_params

STEPS = HPPOParams().axis_steps
DIRECTIONS = ("density", "attribute", "both")
SHARED, OWN = ("catalog", "patterns", "index"), ("predictor", "trajectories", "cases")


def blend_figures(context: RoundContext, split: Split) -> np.ndarray:
    """Mean Joint of every blend along every direction at its best step [blends, directions]; step 0 takes part."""
    validator = context.validator
    seeds, patterns = validator.cases[split]
    blends = case_blends(context, RoundCases(seeds, seeds, patterns, patterns))
    queries = axis_candidates(blends, step_directions(Geometry.of(context.geometry)).numpy(), STEPS)
    joint = [_joint(validator, queries[:, number], seeds, patterns) for number in range(queries.shape[1])]
    table = np.array(joint).reshape(len(BLENDS), 1 + len(STEPS) * len(DIRECTIONS))
    stepped = table[:, 1:].reshape(len(BLENDS), len(STEPS), len(DIRECTIONS)).max(1)
    return np.maximum(stepped, table[:, :1])


def _joint(validator: Validator, queries: np.ndarray, seeds: np.ndarray, patterns: np.ndarray) -> float:
    rows = validator.index.search(queries, validator.k, allowed=validator.visible, exclude=seeds).rows
    return float(list_metrics(rows, validator.positive, validator.patterns.labels, patterns).joint.mean())


def run_rows(folder: Path, params: Params) -> list[str]:
    """A line of the table for each domain and kind of validation of a run."""
    lines = []
    for domain in sorted(path.name for path in (folder / "cases").iterdir()):
        context = load_context(_folders(folder, domain), domain, params)
        for split in VALIDATIONS:
            figures = 100 * blend_figures(context, split)
            cells = [" / ".join(f"{value:.1f}" for value in blend) for blend in figures]
            lines.append(f"| {folder.name.split('-')[0]} | {domain} | {split.kind} | {' | '.join(cells)} |")
    return lines


def _folders(folder: Path, domain: str) -> dict[str, Path]:
    return {name: folder / name for name in SHARED} | {name: folder / name / domain for name in OWN}


def main() -> None:
    """Prints one table for all runs: in each cell the best step along density / attribute / both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    options = parser.parse_args()
    print(f"| catalogue | domain | validation | {' | '.join(BLENDS)} |")
    print("|---" * (3 + len(BLENDS)) + "|")
    for folder in options.runs:
        config = json.loads((folder / "run.json").read_text())
        for line in run_rows(folder, load_params(options.params, config["preset"], config["overrides"])):
            print(line, flush=True)


if __name__ == "__main__":
    main()
