"""The packed training pass against one prefix at a time and against dense attention over all 2L + 1 tokens.

Run `PYTHONPATH=src:. python benchmarks/bench_packed.py`. All passes are forward and backward with the loss of
stage 0. Calls alternate and the best time counts, so that other work on the machine hits all alike. One prefix at a
time is measured at lengths spread evenly over 0..L-1 and scaled to all L of them; a batch row is a prefix and all rows
of a batch have the same length, so that nothing is lost to padding. Memory is the growth of the resident set of a
fresh process during one pass, the median of as many processes as repeats: an allocator rounds by some MB.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.dense_reference import dense_velocity
from modit.model.axes import Geometry, case_axes
from modit.model.dit import DiTConfig, MODiT, packed_visibility, query_visibility
from modit.model.flow import flow_matching_loss, geodesic, normalize
from modit.training.loop import Batch
from modit.training.params import OptimizerParams
from modit.training.stages import PrefixPrediction

DIMENSION, ITEMS, HEADS = 64, 2_000, 4
COLUMNS = (
    *("model", "L", "packed positions/s", "one prefix at a time positions/s", "ratio"),
    *("packed ms", "dense ms", "ratio", "packed MB", "dense MB", "difference"),
)
TOKENS = 3_200  # of a batch, before packing: sequences times length


def build_model(width: int, depth: int) -> MODiT:
    """Random weights in every layer: adaLN-Zero would hide what the blocks compute."""
    torch.manual_seed(0)
    model = MODiT(DiTConfig(dimension=DIMENSION, width=width, depth=depth, heads=HEADS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def draw_geometry(generator: torch.Generator) -> Geometry:
    """Random directions, mean and inverse covariance."""
    density, attribute, mean = torch.randn(3, DIMENSION, generator=generator)
    spread = torch.randn(DIMENSION, DIMENSION, generator=generator)
    whitening = torch.linalg.inv(spread @ spread.T / DIMENSION + torch.eye(DIMENSION))
    return Geometry(normalize(density), normalize(attribute), 0.1 * mean, whitening)


def draw(length: int, rows: int) -> tuple[PrefixPrediction, Batch]:
    """Stages 0 and 1 on random full-length sequences, and a batch in which every position after the first counts."""
    generator = torch.Generator().manual_seed(1)
    embeddings = normalize(torch.randn(ITEMS, DIMENSION, generator=generator)).numpy()
    sequences = np.random.default_rng(0).integers(0, ITEMS, (rows, length)).astype(np.int32)
    geometry = draw_geometry(generator)
    # Unrotated: the axes of a batch are made again below.
    stage = PrefixPrediction("bench", embeddings, sequences, OptimizerParams(rotate=0.0), [geometry])
    batch, framed = stage.batch(generator, rows), torch.ones(rows, dtype=torch.long)
    return stage, batch | {"framed": framed, "axes": case_axes(batch["seeds"], framed, geometry)}


def packed_pass(model: MODiT, stage: PrefixPrediction, batch: Batch) -> None:
    """One packed training pass."""
    stage.loss(model, batch)[0].mean().backward()


def dense_pass(model: MODiT, stage: PrefixPrediction, batch: Batch) -> None:
    """The same loss by dense attention."""
    point = geodesic(batch["noise"], batch["targets"], batch["time"])
    predicted = dense_velocity(model, batch, point.position)
    flow_matching_loss(predicted, point, batch["time"], stage.params.curvature)[:, 1:].mean().backward()


def prefix_pass(model: MODiT, stage: PrefixPrediction, batch: Batch, length: int) -> None:
    """The target after the first `length` items of every row, alone."""
    one = slice(length, length + 1)
    point = geodesic(batch["noise"][:, one], batch["targets"][:, one], batch["time"][:, one])
    seeds, lengths = batch["seeds"][:, :length], torch.full((len(batch["seeds"]),), length)
    cache = model.encode(seeds, lengths, batch["axes"])
    visibility = query_visibility(cache, 1, batch["dropped"][:, one])
    predicted = model.velocity(point.position, batch["time"][:, one], cache, visibility)
    flow_matching_loss(predicted, point, batch["time"][:, one], stage.params.curvature).mean().backward()


@torch.no_grad()
def greatest_difference(model: MODiT, batch: Batch) -> float:
    """Between the velocities of the packed and of the dense pass."""
    point = geodesic(batch["noise"], batch["targets"], batch["time"])
    cache = model.encode(batch["seeds"], batch["valid"].sum(1), batch["axes"])
    visibility = packed_visibility(len(batch["time"]), batch["time"].shape[1], batch["dropped"], torch.device("cpu"))
    packed: Tensor = model.velocity(point.position, batch["time"], cache, visibility)
    return float((packed - dense_velocity(model, batch, point.position)).abs().max())


PASSES = {"packed": packed_pass, "dense": dense_pass}


def best_times(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Best of `repeats` for each call, in turns, after one call to warm up."""
    times = np.empty((repeats, len(calls)))
    for call in calls:
        call()
    for row in times:
        for number, call in enumerate(calls):
            started = time.perf_counter()
            call()
            row[number] = time.perf_counter() - started
    return times.min(0).tolist()


def memory_of_pass(name: str, width: int, depth: int, length: int, threads: int) -> float:
    """MB that one pass adds to the resident set of a fresh process, at its peak."""
    sizes = [str(value) for value in (width, depth, length, threads)]
    command = [sys.executable, __file__, "--child", name, *sizes]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def child(name: str, width: int, depth: int, length: int, threads: int) -> None:
    """Prints the growth of this process during its first pass."""
    torch.set_num_threads(threads)
    model = build_model(width, depth)
    stage, batch = draw(length, TOKENS // length)
    before = status("VmRSS")
    PASSES[name](model, stage, batch)
    print(json.dumps(status("VmHWM") - before))


def status(field: str) -> float:
    """MB of this process by /proc; `getrusage` would also count the parent that it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**10


def measure(width: int, depth: int, length: int, options: argparse.Namespace) -> None:
    """Prints one line of the table."""
    model, (stage, batch) = build_model(width, depth), draw(length, TOKENS // length)
    positions = batch["time"].numel()
    calls = [partial(run, model, stage, batch) for run in PASSES.values()]
    packed, dense = best_times(calls, options.repeats)
    _, rows = draw(length, options.prefix_rows)
    lengths = [int((number + 0.5) * length / options.prefixes) for number in range(options.prefixes)]
    alone = best_times(
        [partial(prefix_pass, model, stage, rows, length) for length in lengths], max(1, options.repeats // 2)
    )
    rate, rate_alone = positions / packed, options.prefix_rows * options.prefixes / sum(alone)
    memory = [
        statistics.median(memory_of_pass(name, width, depth, length, options.threads) for _ in range(options.repeats))
        for name in PASSES
    ]
    print(
        f"| {width}x{depth} | {length} | {rate:,.0f} | {rate_alone:,.0f} | {rate / rate_alone:.1f} | "
        f"{1e3 * packed:.0f} | {1e3 * dense:.0f} | {dense / packed:.2f} | {memory[0]:.0f} | {memory[1]:.0f} | "
        f"{greatest_difference(model, batch):.1e} |",
        flush=True,
    )


def main() -> None:
    """Prints the machine and the table."""
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], *map(int, sys.argv[3:]))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["96x3", "256x4"], help="width x depth")
    parser.add_argument("--lengths", nargs="+", type=int, default=[50, 200, 500])
    parser.add_argument("--prefixes", type=int, default=8, help="prefix lengths measured of one prefix at a time")
    parser.add_argument("--prefix-rows", type=int, default=32, help="rows of a batch of one prefix at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {platform.platform()}, torch {torch.__version__}, {options.threads} threads")
    print(f"forward and backward of {TOKENS} positions, d {DIMENSION}; ms and MB are of one such pass\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for size in options.sizes:
        for length in options.lengths:
            width, depth = map(int, size.split("x"))
            measure(width, depth, length, options)
    return None


if __name__ == "__main__":
    main()
