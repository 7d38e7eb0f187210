"""Training throughput of the retriever: rows that hold several sessions, against a plain loop with a session a row.

Run `PYTHONPATH=src:. python benchmarks/bench_retriever_training.py RUN`; RUN has the artifacts `catalog` and
`item_codes`. Both train the same network with the same loss on sessions drawn alike. A plain row is as long as the
longest session of its batch, and a batch has as many sessions as a packed one. Steps alternate, so that other work on
the machine hits both; what counts are items that are predicted in a second.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch

from modit.data.catalog import Catalog
from modit.data.sessions import Sessions
from modit.index.item_codes import CODES_FILE, END, ItemCodes
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.params import RetrieverParams
from modit.semantic_ids.training import SessionPrediction, new_decoder
from modit.training.loop import Batch, build_optimizer, step_generator


def plain(packed: Batch) -> Batch:
    """The sessions of a batch, each in a row of its own."""
    rows = [(row, block) for row, blocks in enumerate(packed["blocks"]) for block in range(1, int(blocks.max()) + 1)]
    masks = [packed["blocks"][row] == block for row, block in rows]
    longest = max(int(mask.sum()) for mask in masks)
    found = {}
    for name, values in packed.items():
        lines = torch.full((len(rows), longest), -1 if name == "blocks" else 0)
        for line, (row, _), mask in zip(lines, rows, masks, strict=True):
            own = values[row][mask]
            line[: len(own)] = own.clamp_max(1) if name == "blocks" else own
        found[name] = lines
    return found


def step(model: Decoder, stage: SessionPrediction, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    loss, _ = stage.loss(model, batch)
    loss.mean().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    params = RetrieverParams(dense=False)  # dense scores cost the same either way
    codes = ItemCodes.load(chosen.run / "item_codes" / CODES_FILE)
    stage = SessionPrediction("bench", codes, Sessions(Catalog.load(chosen.run / "catalog").sequences).training, params)
    models = [new_decoder(codes, params, 0).train() for _ in range(2)]
    optimizers = [build_optimizer(model, params) for model in models]
    seconds, tokens, items = np.zeros((chosen.steps, 2)), np.zeros(2), 0
    for number in range(chosen.steps + 2):
        packed = stage.batch(step_generator(0, "bench", number), params.batch)
        batches = [packed, plain(packed)]
        taken = [step(*each, batch) for *each, batch in zip(models, [stage] * 2, optimizers, batches, strict=True)]
        if number > 1:
            seconds[number - 2] = taken
            tokens += [batch["tokens"].numel() for batch in batches]
            items += int(((packed["tokens"] == END) | (packed["tokens"] >= codes.vocabulary)).sum())
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    print("| rows | tokens a step, padding included | items a second |\n|---|---|---|")
    for name, own, total in zip(("packed", "a session a row"), tokens, seconds.sum(0), strict=True):
        print(f"| {name} | {own / chosen.steps:,.0f} | {items / total:,.0f} |")
    print(f"\npacked: {np.median(seconds[:, 1] / seconds[:, 0]):.2f} times the plain loop (median of steps)")


if __name__ == "__main__":
    main()
