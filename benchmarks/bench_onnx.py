"""The exported sampler against torch: the same inputs, the same threads, in one process.

Run `python benchmarks/bench_onnx.py`. Prints the machine, the times of the export, and for each size the greatest
difference to torch, the size of the file, the best time of both and their ratio. Calls alternate, so that other work on
the machine hits both alike.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch

from modit.export.sampler import export_sampler
from modit.export.sampler_parts import SamplerParts
from modit.inference.runtime import OnnxSampler, load_sampler
from modit.inference.sampler_file import SAMPLER_FILE, SamplerInfo, SamplerInputs
from modit.model.axes import Geometry
from modit.model.dit import DiTConfig, MODiT
from modit.model.flow import normalize
from modit.model.sampler import Sampler

DIMENSION, STEPS, GUIDANCE = 64, 8, 3.0
SIZES = {"small": (96, 3, 4), "paper": (512, 8, 8)}  # width, depth, heads


def build_sampler(width: int, depth: int, heads: int, samples: int) -> Sampler:
    """Random weights in every layer: the zeros of an untrained model could be folded away."""
    torch.manual_seed(0)
    model = MODiT(DiTConfig(dimension=DIMENSION, width=width, depth=depth, heads=heads))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    density, attribute, mean = normalize(torch.randn(3, DIMENSION))
    geometry = Geometry(density, attribute, mean, torch.eye(DIMENSION) + 0.02 * torch.randn(DIMENSION, DIMENSION))
    return Sampler(model, geometry, STEPS, samples).eval()


class Exported(NamedTuple):
    """A file, with the seconds that translating, writing and loading took, and its size in MB."""

    sampler: OnnxSampler
    translated: float
    written: float
    loaded: float
    megabytes: float


def export(sampler: Sampler, options: argparse.Namespace, folder: Path) -> Exported:
    info = SamplerInfo("bench", DIMENSION, options.seeds, STEPS, sampler.samples, GUIDANCE, "-", "-")
    file = folder / SAMPLER_FILE
    start = time.perf_counter()
    parts = SamplerParts.translate(sampler.model.config, STEPS, sampler.samples, options.seeds)
    translated = time.perf_counter()
    export_sampler(sampler, parts, info, file)
    written = time.perf_counter()
    loaded = load_sampler(file, options.threads)
    seconds = translated - start, written - translated, time.perf_counter() - written
    return Exported(loaded, *seconds, file.stat().st_size / 1e6)


def best_times(calls: list[Callable[[], np.ndarray]], repeats: int) -> list[float]:
    times = np.empty((repeats, len(calls)))
    for call in calls:
        call()
    for row in times:
        for number, call in enumerate(calls):
            start = time.perf_counter()
            call()
            row[number] = time.perf_counter() - start
    return times.min(0).tolist()


def measure(name: str, options: argparse.Namespace, folder: Path) -> None:
    sampler = build_sampler(*SIZES[name], options.samples)
    exported = export(sampler, options, folder)
    generator = torch.Generator().manual_seed(1)
    seeds = torch.randn(options.batch, options.seeds, DIMENSION, generator=generator)
    noise = torch.randn(options.batch, DIMENSION, generator=generator)
    inputs = (seeds, torch.ones(options.batch, options.seeds, dtype=torch.bool), noise)
    arrays = tuple(value.numpy() for value in inputs)

    @torch.inference_mode()
    def with_torch() -> np.ndarray:
        return sampler(*inputs, torch.tensor(GUIDANCE)).numpy()

    def with_onnx() -> np.ndarray:
        return exported.sampler.queries(SamplerInputs(*arrays, GUIDANCE))

    torch_time, onnx_time = best_times([with_torch, with_onnx], options.repeats)
    difference = np.abs(with_torch() - with_onnx()).max()
    print(
        f"{name:6} translate {exported.translated:5.1f} s  write {exported.written:5.1f} s  "
        f"load {exported.loaded:4.1f} s  {exported.megabytes:6.1f} MB  "
        f"difference {difference:.1e}  torch {1e3 * torch_time:8.1f} ms  onnx {1e3 * onnx_time:8.1f} ms  "
        f"torch/onnx {torch_time / onnx_time:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=150)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, {platform.platform()}, threads {options.threads}")
    print(
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}; batch {options.batch}, "
        f"{options.seeds} seeds, {STEPS} steps, {options.samples} samples, guidance {GUIDANCE}"
    )
    for name in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, options, Path(folder))


if __name__ == "__main__":
    main()
