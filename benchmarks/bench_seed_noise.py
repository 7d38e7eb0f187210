"""How far Joint@K moves when nothing but the seed of training changes: the noise floor of a preset.

    PYTHONPATH=src:. python benchmarks/bench_seed_noise.py runs/goodbooks-small-0 --into runs-of-seeds --seeds 1,2

Takes finished runs and trains their stages again under other seeds. Fixed, copied from the run: the catalogue, what is
held out, patterns, index, density labels and their predictor, trajectories, cases, and the noise and the resampling
that cases are judged with. Drawn anew: initial weights, batches, noise and dropped seeds of every training stage, the
sequences that pretraining makes of patterns where the catalogue has no interactions, HPPO's candidates and pairs, and
the folds that choose the readout and fit the second stage. The run's own seed is judged by the same code, with a
readout and a second stage that are made again.

As many tasks at once as there are processes, each with one thread; the stages that domains share come first and take
the threads that are free. `--into` keeps the runs of the seeds, and a file of figures for each (run, seed, domain) as
soon as it is judged; what is there is not made again. The tables are of all seeds that have figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.hppo_round import OUTPUTS as HPPO_OUTPUTS
from components.registry import REGISTRY
from modit.core.output import set_up_logging
from modit.core.runner import StepRunner
from modit.core.seeds import derived_seed
from modit.core.storage import Storage
from modit.data.splits import HOLDOUTS, Split
from modit.evaluate import names
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.records import read_rounds, round_guidance
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.rows import model_row
from modit.evaluate.seeds.second_stage import served_row
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.storage import read_json
from modit.evaluate.task import Row
from modit.inference.retrieval import Query
from modit.metric.second_stage import SecondStage
from modit.model.axes import Geometry
from modit.model.readout import READOUT_FILE, readout_of_json
from modit.training.params import SamplerParams

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
FIXED = ("catalog", "index", "patterns", "predictor", "cases", "trajectories")
TRAINED = ("pretrained", "continued", "finetuned", *HPPO_OUTPUTS)
SHARED_STEPS = ("pretrain", "continue_pretrain")
TRAINING_STEPS = ("finetune", *(f"hppo_round_{number}" for number in range(1, len(HPPO_OUTPUTS) + 1)))
SERVING_STEPS = ("choose_readout", "fit_second_stage")
RERANKED = names.reranked(names.POLICY)
ROWS = (names.POLICY, RERANKED, names.SFT, names.NETWORK, names.VOTE)
RESAMPLES, GATE_RESAMPLES = 10_000, 2_000


@dataclass(frozen=True)
class Seed:
    """A finished run under another seed.

    Attributes:
        run: Folder of the finished run.
        into: Folder of the runs of seeds.
        seed: Of training.
    """

    run: Path
    into: Path
    seed: int

    @property
    def folder(self) -> Path:
        """Of the run with this seed."""
        return self.into / f"{self.run.name}-{self.seed}"

    @property
    def own(self) -> bool:
        """Whether the finished run was trained with this seed."""
        return self.seed == run_seed(self.run)

    def figures(self, domain: str) -> Path:
        """File of a domain's figures."""
        return self.into / "figures" / f"{self.run.name}-{self.seed}-{domain}.json"

    def prepare(self) -> None:
        """Makes the folder with what is fixed, and with what is trained where the seed is the run's own."""
        if (self.folder / "run.json").exists():
            return
        for name in (*FIXED, *(TRAINED if self.own else ())):
            shutil.copytree(self.run / name, self.folder / name, dirs_exist_ok=True)
        Storage(str(self.folder)).write_json("run.json", read_json(self.run / "run.json") | {"seed": self.seed})

    def missing(self) -> list[str]:
        """The domains that have no figures yet."""
        return [domain for domain in domains_of(self.run) if not self.figures(domain).exists()]


def run_seed(run: Path) -> int:
    """The seed of a run."""
    return StepRunner(REGISTRY, str(run), PARAMS).seed


def domains_of(run: Path) -> list[str]:
    """The domains of a run."""
    return StepRunner(REGISTRY, str(run), PARAMS).domains()


def train(seed: Seed, domain: str | None, threads: int) -> str:
    """Runs the steps that domains share, or those of a domain, whose lists are then judged. Returns what was done."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    runner = StepRunner(REGISTRY, str(seed.folder), PARAMS)
    training = TRAINING_STEPS if domain else SHARED_STEPS
    for step in (*(() if seed.own else training), *(SERVING_STEPS if domain else ())):
        runner.execute(step, domain)
    trained = time.perf_counter() - started
    if domain:
        content = json.dumps(judge(seed, domain))
        unfinished = seed.figures(domain).with_suffix(".part")
        unfinished.write_text(content, encoding="utf-8")
        unfinished.rename(seed.figures(domain))
    total = time.perf_counter() - started
    return f"{seed.folder.name} {domain or 'shared stages'}: {trained:.0f} s, judged in {total - trained:.0f} s"


def judge(seed: Seed, domain: str) -> dict[str, Any]:
    """Joint@K and Same@K of the rows on both hold-outs, among items whose verdict nobody has used."""
    run, runner = seed.folder, StepRunner(REGISTRY, str(seed.run), PARAMS)
    folders = {name: run / name for name in ("catalog", "patterns", "index")}
    folders |= {name: run / name / domain for name in ("predictor", "cases")}
    context = EvaluationContext.load(folders, domain, runner.params.retrieval)
    task = SeedsTask(context, derived_seed(runner.seed, "evaluate", domain))
    stage = SecondStage.load(run / "second_stage" / domain, *context.catalog.embeddings.shape)
    readout = read_json(run / "readout" / domain / READOUT_FILE)
    rounds = read_rounds(run / HPPO_OUTPUTS[-1] / domain)
    result: dict[str, Any] = {
        "own": seed.own,
        "rerank": stage.enabled,
        "share": readout["share"],
        "rounds_kept": sum(record["kept"] for record in rounds) - 1,
    }
    rows = rows_of(run, domain, task, runner.params.sampler, readout, rounds, stage)
    for split in HOLDOUTS:
        if reason := task.reason_to_skip(split):
            result[split] = {"reason": reason}
            continue
        cases = task.cases(split)
        scores = {row.name: task.judge(cases, row.retriever.retrieve(cases.requests)) for row in rows}
        result[split] = {
            "k": context.depth(split),
            "patterns": cases.clusters.tolist(),
            "joint": {name: np.round(value["joint"], 6).tolist() for name, value in scores.items()},
            "same": {name: float(value["same"].mean()) for name, value in scores.items()},
        }
    return result


def rows_of(
    run: Path,
    domain: str,
    task: SeedsTask,
    sampler: SamplerParams,
    readout: dict[str, Any],
    rounds: Sequence[Mapping[str, Any]],
    stage: SecondStage,
) -> list[Row[Query]]:
    """The trained rows, as the step `evaluate` makes them."""
    geometry = Geometry.of(task.context.geometry)
    tuned, policy = run / "finetuned" / domain / "model.pt", run / HPPO_OUTPUTS[-1] / domain / "model.pt"
    before, after = round_guidance(rounds)
    whole, vote = (readout_of_json(content, geometry) for content in (readout, readout | {"share": 0.0}))
    served = model_row(names.POLICY, policy, task, sampler, after, readout=whole)
    return [
        served,
        served_row(served, stage, task.context),
        model_row(names.SFT, tuned, task, sampler, before),
        model_row(names.NETWORK, policy, task, sampler, after),
        model_row(names.VOTE, policy, task, sampler, after, readout=vote),
    ]


def train_all(seeds: Sequence[Seed], processes: int) -> None:
    """Trains and judges what is missing, earlier seeds first, as many tasks at once as there are processes."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started here
    waiting: dict[tuple[int, str | None], Seed] = {}
    for order, seed in enumerate(seeds):
        seed.prepare()
        domains = seed.missing()
        waiting |= {(order, domain): seed for domain in (domains if seed.own or not domains else [None])}
    running: dict[Future[str], tuple[int, str | None]] = {}
    failed: list[str] = []
    threads = max(1, processes // max(1, sum(domain is None for _, domain in waiting)))
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=set_up_logging, initargs=("WARNING",)
    ) as pool:
        while waiting or running:
            # Shared stages before domains, then in order: the least tuple.
            for key in sorted(waiting, key=lambda key: (key[1] is not None, key[0]))[: processes - len(running)]:
                running[pool.submit(train, waiting.pop(key), key[1], 1 if key[1] else threads)] = key
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                order, domain = running.pop(done)
                if error := done.exception():
                    failed.append(f"{seeds[order].folder.name} {domain or 'shared stages'}: {error}")
                    continue
                print(done.result(), flush=True)
                if domain is None:
                    waiting |= {(order, each): seeds[order] for each in seeds[order].missing()}
    if failed:
        raise SystemExit("\n".join(["not everything was trained; the same command goes on:", *failed]))


@dataclass(frozen=True)
class Cell:
    """A domain and a hold-out of a run, under all seeds that have figures.

    Attributes:
        domain: Name of the domain.
        split: The hold-out.
        seeds: Of training, S.
        patterns: Pattern of each case, int [n].
        joint: Row -> Joint@K of each seed and case, [S, n].
        resampling: Seed of the resampling.
    """

    domain: str
    split: Split
    seeds: tuple[int, ...]
    patterns: np.ndarray
    joint: dict[str, np.ndarray]
    resampling: int

    def means(self, row: str) -> np.ndarray:
        """Joint@K in percent of each seed, [S]."""
        return 100 * self.joint[row].mean(1)

    def deviation(self, row: str, other: str | None = None) -> float:
        """Standard deviation over seeds, in points, of a row or of its difference to another."""
        return float(np.std(self.means(row) - (self.means(other) if other else 0.0), ddof=1))

    def half_width(self, row: str, other: str | None = None) -> float | None:
        """Half the 95 % interval over patterns, in points, mean over seeds; None with too few patterns."""
        lines = self.joint[row] - (self.joint[other] if other else 0.0)
        found = [paired_interval(line, self.patterns, self.resampling, RESAMPLES) for line in lines]
        if found[0]["pattern_low"] is None:
            return None
        return float(np.mean([50 * (each["pattern_high"] - each["pattern_low"]) for each in found]))

    def gains(self, row: str) -> list[tuple[float, float]]:
        """The gain of one seed over another and the low end of its interval over patterns, in points.

        For each ordered pair of seeds; empty with too few patterns.
        """
        pairs = [(one - other) for one, other in permutations(self.joint[row], 2)]
        found = [paired_interval(pair, self.patterns, self.resampling, GATE_RESAMPLES) for pair in pairs]
        told = [each for each in found if each["pattern_low"] is not None]
        return [(100 * each["mean"], 100 * each["pattern_low"]) for each in told]


def read_cells(run: Path, into: Path) -> list[Cell]:
    """The cells of a run under the seeds that have figures, where those are at least two."""
    cells = []
    for domain in domains_of(run):
        files = into.glob(f"figures/{run.name}-*-{domain}.json")
        found = {int(file.stem.removeprefix(f"{run.name}-").split("-")[0]): read_json(file) for file in files}
        for split in HOLDOUTS:
            parts = {seed: content[split] for seed, content in sorted(found.items())}
            if len(parts) > 1 and not any("reason" in part for part in parts.values()):
                joint = {row: np.array([part["joint"][row] for part in parts.values()]) for row in ROWS}
                patterns = np.array(next(iter(parts.values()))["patterns"])
                cells.append(Cell(domain, split, tuple(parts), patterns, joint, run_seed(run)))
    return cells


def cell_table(cells: Sequence[Cell]) -> str:
    """Markdown: Joint@K of the served rows under each seed, and deviations."""
    short = [f"sd of {row}" for row in (names.SFT, names.NETWORK, names.VOTE)]
    head = ["domain", "hold-out", "patterns", "seeds", names.POLICY, "sd", RERANKED, "sd", *short]
    head += [f"half width of {names.POLICY}", f"sd of {names.AGAINST_SFT}", f"half width of {names.AGAINST_SFT}"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for cell in cells:
        line = [cell.domain, cell.split.split("_")[0], str(len(np.unique(cell.patterns)))]
        line.append(", ".join(str(seed) for seed in cell.seeds))
        for row in (names.POLICY, RERANKED):
            line += [" ".join(f"{mean:.1f}" for mean in cell.means(row)), points(cell.deviation(row))]
        line += [points(cell.deviation(row)) for row in (names.SFT, names.NETWORK, names.VOTE)]
        line += [points(cell.half_width(names.POLICY)), points(cell.deviation(names.POLICY, names.SFT))]
        line.append(points(cell.half_width(names.POLICY, names.SFT)))
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def summary_table(cells_of: dict[str, list[Cell]], noise_floor: float) -> str:
    """Markdown: for each run and row, deviations over seeds beside intervals, and gains that only a seed made."""
    head = [
        "catalogue",
        "row",
        "cells",
        "sd, mean",
        "sd, median",
        "sd, greatest",
        "sd, pooled",
        "two seeds differ by, 95%",
    ]
    head += ["half width over patterns, mean", "sd / half width, mean"]
    head += ["pairs with an interval", f"gain above {100 * noise_floor:.1f}", "and interval above 0"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for run, cells in cells_of.items():
        for row in ROWS:
            deviations = np.array([cell.deviation(row) for cell in cells])
            told = [(own, half) for cell, own in zip(cells, deviations, strict=True) if (half := cell.half_width(row))]
            pooled = float(np.sqrt((deviations**2).mean()))
            figures = [deviations.mean(), np.median(deviations), deviations.max(), pooled, 1.96 * np.sqrt(2) * pooled]
            figures += [np.mean([half for _, half in told]), np.mean([own / half for own, half in told])]
            gains = [gain for cell in cells for gain in cell.gains(row)]
            large = [low for gain, low in gains if gain > 100 * noise_floor]
            counts = [len(gains), len(large), sum(low > 0 for low in large)]
            line = [run, row, str(len(cells)), *(points(value) for value in figures), *(str(count) for count in counts)]
            lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def overall_table(cells: Sequence[Cell]) -> str:
    """Markdown: the mean over all cells under each seed that every cell has, and in how many a row is above MO-DiT."""
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in cells)))
    chosen = [[cell.seeds.index(seed) for seed in seeds] for cell in cells]
    means = {row: np.stack([cell.means(row)[own] for cell, own in zip(cells, chosen, strict=True)]) for row in ROWS}
    head = ["row", *(f"seed {seed}" for seed in seeds), "sd", f"cells of {len(cells)} above {names.SFT}"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, value in means.items():
        above = ", ".join(str(count) for count in (value > means[names.SFT]).sum(0))
        line = [row, *(f"{mean:.1f}" for mean in value.mean(0)), points(np.std(value.mean(0), ddof=1)), above]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def points(value: float | None) -> str:
    """A figure with two digits after the point, or that there is none."""
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    """Trains and judges what is missing, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="finished runs")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder for the runs of other seeds")
    parser.add_argument(
        "--seeds", default="1,2", help="(default %(default)s) or the run's own; earlier ones come first"
    )
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="(default: the cores)")
    chosen = parser.parse_args()
    (chosen.into / "figures").mkdir(parents=True, exist_ok=True)
    numbers = [int(seed) for seed in chosen.seeds.split(",") if seed]
    train_all([Seed(run, chosen.into, seed) for seed in numbers for run in chosen.runs], chosen.processes)
    cells_of = {}
    for run in chosen.runs:
        if cells := read_cells(run, chosen.into):
            cells_of[run.name] = cells
            print(f"\n### {run.name}\n\n{cell_table(cells)}")
    if cells_of:
        noise_floor = StepRunner(REGISTRY, str(chosen.runs[0]), PARAMS).params.gate.noise_floor
        print(f"\n{summary_table(cells_of, noise_floor)}")
        print(f"\n{overall_table([cell for cells in cells_of.values() for cell in cells])}")


if __name__ == "__main__":
    main()
