"""Sampling with cached conditions against running the whole sequence at every step for both branches.

Run `PYTHONPATH=src:. python benchmarks/bench_sampling.py`. Both integrate the same noise with the same weights. Calls
alternate and the best time counts, so that other work on the machine hits both alike.
"""

from __future__ import annotations

import argparse
import platform
from functools import partial

import torch
from torch import Tensor

from benchmarks.bench_packed import best_times, build_model, draw_geometry
from modit.model.axes import Geometry, case_axes
from modit.model.dit import MODiT, query_visibility
from modit.model.flow import euler_step, normalize
from modit.model.sampler import sample_queries

DIMENSION, GUIDANCE = 64, 3.0


def recompute_queries(
    model: MODiT, seeds: Tensor, lengths: Tensor, geometry: Geometry, noise: Tensor, guidance: Tensor, steps: int
) -> Tensor:
    """`sample_queries` without what it saves: [BOS, seeds, query] is run anew for each step and branch.

    Args:
        model: the velocity field.
        seeds: unit [B, M, d].
        lengths: valid seeds [B].
        geometry: of the domain.
        noise: unit [B, 1, d].
        guidance: [B, 1].
        steps: of the integration.
    """
    z = normalize(noise)
    for index in range(steps):
        time = noise.new_full(noise.shape[:2], index / steps)
        branches = []
        for dropped in (False, True):
            cache = model.encode(seeds, lengths, case_axes(seeds, lengths, geometry))
            visibility = query_visibility(cache, 1, torch.full(noise.shape[:2], dropped))
            branches.append(model.velocity(z, time, cache, visibility))
        conditional, null = branches
        z = euler_step(z, null + guidance.unsqueeze(-1) * (conditional - null), 1 / steps)
    return z


@torch.inference_mode()
def measure(width: int, depth: int, options: argparse.Namespace) -> None:
    """Prints one line of the table."""
    model, generator = build_model(width, depth).eval(), torch.Generator().manual_seed(2)
    seeds = normalize(torch.randn(options.batch, options.seeds, DIMENSION, generator=generator))
    noise = normalize(torch.randn(options.batch, 1, DIMENSION, generator=generator))
    lengths, scales = torch.full((options.batch,), options.seeds), torch.full((options.batch, 1), GUIDANCE)
    inputs = (model, seeds, lengths, draw_geometry(generator), noise, scales, options.steps)
    difference = float((sample_queries(*inputs) - recompute_queries(*inputs)).abs().max())
    calls = [partial(sample_queries, *inputs), partial(recompute_queries, *inputs)]
    cached, recomputed = (1e3 * seconds for seconds in best_times(calls, options.repeats))
    print(
        f"| {width}x{depth} | {cached:.1f} | {recomputed:.1f} | {recomputed / cached:.1f} | {difference:.1e} |",
        flush=True,
    )


def main() -> None:
    """Prints the machine and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["96x3", "256x4"], help="width x depth")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=150)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {platform.platform()}, torch {torch.__version__}, {options.threads} threads")
    print(f"batch {options.batch}, {options.seeds} seeds, {options.steps} steps, guidance {GUIDANCE}\n")
    print("| model | cached ms | recomputed ms | ratio | difference |\n|---|---|---|---|---|", flush=True)
    for size in options.sizes:
        width, depth = map(int, size.split("x"))
        measure(width, depth, options)


if __name__ == "__main__":
    main()
