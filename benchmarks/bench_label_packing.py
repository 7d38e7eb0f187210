"""Label packing: several candidates after one prompt in one pass, against a pass over prompt and candidate for each.

Run `PYTHONPATH=src:. python benchmarks/bench_label_packing.py`. Both score the same candidates with the same weights;
a pass is forward and backward of the sum of their log-probabilities. Separate passes are one batch of prompts times
candidates rows, so that neither side loses time to calls. Calls alternate and the best time counts, so that other work
on the machine hits both. The difference is the largest one of any token's log-probability.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor

from modit.semantic_ids.decoder import Decoder, DecoderConfig

VOCABULARY, CODES = 771, 3
FIRST_CODE, END = 3, 2


def drawn(rows: int, prompt: int, candidates: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts, their lengths and candidates of random codes."""
    prompts = torch.randint(FIRST_CODE, VOCABULARY, (rows, prompt), generator=generator)
    codes = torch.randint(FIRST_CODE, VOCABULARY, (rows, candidates, CODES), generator=generator)
    ends = torch.full((rows, candidates, 1), END)
    return prompts, torch.full((rows,), prompt), torch.cat([codes, ends], 2)


def packed(model: Decoder, prompts: Tensor, lengths: Tensor, candidates: Tensor) -> Tensor:
    """Log-probabilities [B, C, S] of one pass."""
    return model.log_probabilities(prompts, lengths, candidates).log_probabilities


def separate(model: Decoder, prompts: Tensor, lengths: Tensor, candidates: Tensor) -> Tensor:
    """The same with the prompt encoded for every candidate."""
    count = candidates.shape[1]
    found = model.log_probabilities(
        prompts.repeat_interleave(count, 0), lengths.repeat_interleave(count), candidates.flatten(0, 1)[:, None]
    )
    return found.log_probabilities.view(candidates.shape)


def seconds(model: Decoder, score: Callable[..., Tensor], batch: tuple[Tensor, Tensor, Tensor]) -> float:
    """Time of one forward and backward pass."""
    model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    score(model, *batch).sum().backward()
    return time.perf_counter() - start


def compare(width: int, depth: int, rows: int, prompt: int, candidates: int, repeats: int) -> dict[str, float | int]:
    """Both ways on one batch."""
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(VOCABULARY, width=width, depth=depth, heads=4, dropout=0.0))
    batch = drawn(rows, prompt, candidates, torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((packed(model, *batch) - separate(model, *batch)).abs().max())
    times = [[seconds(model, score, batch) for score in (packed, separate)] for _ in range(repeats + 1)][1:]
    best = [min(column) for column in zip(*times, strict=True)]
    return {
        "width": width,
        "depth": depth,
        "prompt tokens": prompt,
        "candidates": candidates,
        "packed ms": round(1000 * best[0], 1),
        "separate ms": round(1000 * best[1], 1),
        "ratio": round(best[1] / best[0], 2),
        "difference": difference,
    }


def main() -> None:
    """Prints a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=32, help="prompts in a batch")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    print(json.dumps({"machine": platform.platform(), "torch": torch.__version__, "threads": torch.get_num_threads()}))
    for prompt, candidates in ((60, 4), (60, 6), (80, 6), (20, 4)):
        print(json.dumps(compare(128, 2, options.rows, prompt, candidates, options.repeats)), flush=True)


if __name__ == "__main__":
    main()
