"""The choices of the method one at a time, on one domain of a finished run.

    PYTHONPATH=src:. python benchmarks/ablations.py RUN_FOLDER DOMAIN --groups order pool --steps 150 --cases 200

Every group has a reference arm; others are compared with it case by case. An arm is judged on validation and test cases
alike, at the guidance scale that is best on validation; nothing is chosen on test cases. Figures are per cent, brackets
are paired 95 % intervals over cases. HPPO arms start from the run's SFT model and have no stop rule: they show what an
objective does, not what validation lets pass.

Writes ablations.json and ablations.md into `--output` after every group; groups already there are kept, so that
a group can be run at a time.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablation_runs import AblationRun, Budget, Chain, Recipe, Scores
from modit.data.splits import Split
from modit.evaluate.bootstrap import bootstrap_cases
from modit.params import load_params

# What the paper sets for HPPO; docs/adr/0005 says why the defaults of this repository differ.
PAPER = {
    "use_static": True,
    "use_policy": True,
    "use_axes": False,
    "use_moves": False,
    "case_weight": 1.0,
    "gate": "second",
    "anchor": "tail",
    "anchor_weight": 0.1,
}
LINEAR = (("linear_head", True), ("copy_heads", 0))
COLUMNS = ("arm", "split", "Joint", "difference", "Same", "difference", "guidance")
Arm = Recipe | Chain | None  # None is the run's SFT model as it is


def paper(rounds: int = 2, steps: int = 50, **changes: Any) -> Chain:
    """A chain in the paper's setting, with changes."""
    return Chain(rounds, steps, PAPER | changes)


# The first arm of a group is its reference.
GROUPS: dict[str, dict[str, Arm]] = {
    "order": {
        "ascending": Recipe(),
        "random": Recipe(order="random"),
        "descending": Recipe(order="descending"),
    },
    "target": {"tail centroid": Recipe(), "top-1": Recipe(tail=1)},
    "pool": {
        "hybrid": paper(),
        "static only": paper(use_policy=False),
        "policy only": paper(use_static=False),
        "axes and moves (defaults)": Chain(2, 50),
        "axes only": Chain(2, 50, {"use_moves": False}),
        "moves only": Chain(2, 50, {"use_axes": False}),
        "SFT": None,
    },
    "variants": {
        "off_policy": paper(1, 100, variant="off_policy"),
        "adaptive": paper(variant="adaptive"),
        "pareto": paper(variant="pareto"),
        "pareto_epsilon": paper(variant="pareto_epsilon"),
        "SFT": None,
    },
    "variants of the defaults": {
        "off_policy": Chain(1, 100, {"variant": "off_policy"}),
        "adaptive": Chain(2, 50, {"variant": "adaptive"}),
        "pareto": Chain(2, 50, {"variant": "pareto"}),
        "pareto_epsilon": Chain(2, 50, {"variant": "pareto_epsilon"}),
        "SFT": None,
    },
    "rounds": {"1 x 100": paper(1, 100), "2 x 50": paper(2, 50), "4 x 25": paper(4, 25), "SFT": None},
    "rounds of the defaults": {"1 x 100": Chain(1, 100), "2 x 50": Chain(2, 50), "4 x 25": Chain(4, 25), "SFT": None},
    "readout": {
        "copy heads": Recipe(pretrain=True),
        "linear head": Recipe(pretrain=True, model=LINEAR),
        "linear head, no rotation (paper)": Recipe(pretrain=True, model=LINEAR, rotate=0.0),
    },
    "rotation": {"rotate 1": Recipe(pretrain=True), "rotate 0": Recipe(pretrain=True, rotate=0.0)},
}


def run_arm(run: AblationRun, arm: Arm) -> Scores:
    """Trains and judges one arm."""
    if isinstance(arm, Recipe):
        return run.judge(run.supervised(arm), arm.order)
    return run.judge(run.finetuned() if arm is None else run.chain(arm))


def run_group(run: AblationRun, name: str, known: dict[str, Scores]) -> list[dict[str, Any]]:
    """A record for each arm and split: means, and paired differences to the reference with 95 % intervals.

    Args:
        run: the domain.
        name: of the group.
        known: scores of arms that other groups have trained already; added to.
    """
    records: list[dict[str, Any]] = []
    reference: Scores | None = None
    for label, arm in GROUPS[name].items():
        started = time.perf_counter()
        if repr(arm) not in known:
            known[repr(arm)] = run_arm(run, arm)
        scores = known[repr(arm)]
        reference = reference or scores
        for split in Split:
            if len(scores.values[split]):
                place = {"arm": label, "split": split, "guidance": scores.guidance}
                records.append(place | compare(scores, reference, split))
        print(f"{name}: {label} {time.perf_counter() - started:.0f} s", flush=True)
    return records


def compare(scores: Scores, reference: Scores, split: str) -> dict[str, Any]:
    """Means and paired differences of Joint and Same on one split."""
    figures: dict[str, Any] = {"cases": len(scores.values[split])}
    for column, metric in enumerate(("joint", "same")):
        values, base = scores.values[split][:, column], reference.values[split][:, column]
        figures[metric] = float(values.mean())
        figures[f"{metric}_difference"] = [round(part, 4) for part in bootstrap_cases(values - base)]
    return figures


def to_markdown(results: dict[str, Any]) -> str:
    """One table a group and domain."""
    lines = ["# Ablations", "", (__doc__ or "").split("\n\n")[2].strip(), ""]
    for title, group in results.items():
        lines += [f"## {title}", "", f"`{group['command']}`, {group['machine']}, {group['seconds']:.0f} s.", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [_row(record) for record in group["records"]] + [""]
    return "\n".join(lines)


def _row(record: dict[str, Any]) -> str:
    cells = [record["arm"], record["split"]]
    for metric in ("joint", "same"):
        mean, low, high = (100 * part for part in record[f"{metric}_difference"])
        cells += [f"{100 * record[metric]:.1f}", f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"]
    return "| " + " | ".join([*cells, f"{record['guidance']:g}"]) + " |"


def main() -> None:
    """Runs the groups asked for and writes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("domain")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--steps", type=int, default=200, help="of each supervised stage")
    parser.add_argument("--cases", type=int, default=300, help="of each split")
    parser.add_argument("--label-cases", type=int, default=800, help="training cases of an HPPO round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--output", type=Path, default=Path("ablations"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = json.loads((options.run / "run.json").read_text())
    params = load_params(options.params, config["preset"], config["overrides"])
    budget = Budget(options.steps, options.cases, options.label_cases)
    run = AblationRun(options.run, options.domain, params, budget, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    stored = options.output / "ablations.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    known: dict[str, Scores] = {}
    for name in options.groups:
        started = time.perf_counter()
        records = run_group(run, name, known)
        results[f"{name}: {options.run.name}, {options.domain}"] = {
            "command": command(options, name),
            "machine": f"{options.threads} threads, {platform.machine()}, torch {torch.__version__}",
            "seconds": time.perf_counter() - started,
            "records": records,
        }
        stored.write_text(json.dumps(results, indent=1) + "\n")
        (options.output / "ablations.md").write_text(to_markdown(results))
    sys.stdout.write(to_markdown(results))


def command(options: argparse.Namespace, group: str) -> str:
    """What runs this group again; the run's folder by name, as its place differs between machines."""
    what = f"runs/{options.run.name} {options.domain} --groups {shlex.quote(group)}"
    sizes = f"--steps {options.steps} --cases {options.cases} --label-cases {options.label_cases}"
    return f"python benchmarks/ablations.py {what} {sizes} --seed {options.seed}"


if __name__ == "__main__":
    main()
