"""What training needs of a GPU's memory, for each preset: the model's state, and the activations of a micro-batch.

PYTHONPATH=src:. python benchmarks/training_memory.py [--dimension 128]

State is `modit.training.distributed.training_bytes`; HPPO keeps its frozen reference beside it. Activations are the
bytes that autograd keeps for the backward pass in bf16, counted on the CPU for one and for two sequences: the
difference is what one more sequence takes. Kernels of a GPU keep about the same; what the allocator wastes comes on
top. GB is 1e9.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modit.core.names import PRESETS
from modit.data.vectors import unit
from modit.hppo.preferences import PairData, PreferenceStage
from modit.model.axes import Geometry
from modit.model.dit import DiTConfig, MODiT
from modit.params import Params, load_params
from modit.training.distributed import training_bytes
from modit.training.loop import Stage
from modit.training.stages import PrefixPrediction, TargetPrediction

ROOT = Path(__file__).resolve().parents[1]
GB = 1e9
ITEMS, SEQUENCES = 4_000, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimension", type=int, default=128)
    dimension = parser.parse_args().dimension
    print(f"{platform.machine()}, torch {torch.__version__}, embeddings of {dimension} dimensions\n")
    print("| preset | parameters | state, GB | stage | batch / micro-batches | GB a sequence | GB a micro-batch |")
    print("|---|---|---|---|---|---|---|")
    for preset in PRESETS:
        params = load_params(ROOT / "params.yaml", preset)
        model = MODiT(DiTConfig(dimension=dimension, **params.model.model_dump()))
        count = sum(parameter.numel() for parameter in model.parameters())
        for name, (stage, batch, parts) in stages(params, model, dimension).items():
            frozen = 4 * count if name == "hppo" else 0
            state = (training_bytes(model, averaged=False) + frozen) / GB
            each = (kept(model, stage, 2) - kept(model, stage, 1)) / GB
            row = f"{preset} | {count / 1e6:.3g}M | {state:.2g} | {name} | {batch} / {parts}"
            print(f"| {row} | {each:.2g} | {each * batch / parts:.3g} |", flush=True)


def stages(params: Params, model: MODiT, dimension: int) -> dict[str, tuple[Stage, int, int]]:
    """Stages on random vectors, with their batch and number of micro-batches."""
    rng, sizes = np.random.default_rng(0), params.build_trajectories
    embeddings = unit(rng.standard_normal((ITEMS, dimension))).astype(np.float32)
    rows = np.stack([rng.choice(ITEMS, sizes.length, replace=False) for _ in range(SEQUENCES)]).astype(np.int32)
    seeds, targets, geometry = rows[:, : sizes.seeds], embeddings[:SEQUENCES], Geometry.blank(dimension)
    vectors, pairs = torch.from_numpy(embeddings), torch.arange(SEQUENCES)
    winners, losers = vectors[:SEQUENCES], vectors[SEQUENCES : 2 * SEQUENCES]
    data = PairData(vectors[seeds], torch.full((SEQUENCES,), sizes.seeds), pairs, winners, losers, None)
    return {
        "pretrain": (
            PrefixPrediction("pretrain", embeddings, rows, params.pretrain, [geometry]),
            params.pretrain.batch,
            params.pretrain.accumulate,
        ),
        "finetune": (
            TargetPrediction("finetune", embeddings, seeds, targets, params.finetune, geometry),
            params.finetune.batch,
            params.finetune.accumulate,
        ),
        "hppo": (PreferenceStage("hppo", data, model, params.hppo, geometry), params.hppo.batch, 1),
    }


def kept(model: MODiT, stage: Stage, size: int) -> int:
    """Bytes that autograd keeps for the backward pass of `size` sequences, each piece of memory counted once."""
    pieces: dict[int, int] = {}
    hooks = torch.autograd.graph.saved_tensors_hooks(_counted(pieces), lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        loss, _ = stage.loss(model, stage.batch(torch.Generator().manual_seed(0), size))
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    assert loss.requires_grad  # and so still holds what was counted
    return sum(size for piece, size in pieces.items() if piece not in own)


def _counted(pieces: dict[int, int]) -> Callable[[Tensor], Tensor]:
    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        pieces[storage.data_ptr()] = storage.nbytes()
        return tensor

    return note


if __name__ == "__main__":
    main()
