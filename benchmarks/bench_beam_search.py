"""Beam search over semantic IDs with shared prompts and a cache against a pass over the whole text for each beam.

Run `PYTHONPATH=src:. python benchmarks/bench_beam_search.py`. Random weights, 12,000 items with three codes each,
sessions of 15 items, 20 beams, one thread. The plain search decodes over all tokens; the cached one is measured over
all tokens, with the same answers, and within the trie. Calls alternate and the median of the processor time counts, so
that other work on the machine does not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from modit.index.beam_search import beam_search
from modit.index.id_retrieval import padded_prompts
from modit.index.item_codes import ItemCodes
from modit.semantic_ids.decoder import Decoder, DecoderConfig, TorchNetwork

ITEMS, SIZES, SESSION, BEAMS = 12_000, (64, 128, 256), 15, 20


@torch.no_grad()
def plain_search(model: Decoder, prompts: Tensor, longest: int, width: int) -> Tensor:
    """Scores [B, W] of the best strings of `longest` tokens, by a pass over prompt and beam for each token."""
    texts, score = prompts[:, None], torch.zeros(len(prompts), 1)
    for _ in range(longest):
        flat = texts.flatten(0, 1)
        places = torch.arange(flat.shape[1]).expand(len(flat), -1)
        states = model(flat, places, torch.zeros_like(flat))[:, -1]
        found = model.logits(states).log_softmax(-1).unflatten(0, texts.shape[:2])
        score, chosen = (score[..., None] + found).flatten(1).topk(width, 1)
        parent, token = chosen // found.shape[-1], chosen % found.shape[-1]
        texts = torch.cat([texts.gather(1, parent[..., None].expand(-1, -1, texts.shape[-1])), token[..., None]], -1)
    return score


def seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor time of each call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    rows = np.stack([generator.integers(0, size, ITEMS) for size in SIZES], 1).astype(np.int32)
    codes = ItemCodes(rows, SIZES, np.zeros(ITEMS, np.int64), generator.random(ITEMS))
    model = Decoder(DecoderConfig(codes.vocabulary, dropout=0.0)).eval()
    trie, longest = codes.trie, codes.tokens.shape[1]
    print("| sessions | plain ms | cached ms | ratio | in the trie ms | ratio |\n|---|---|---|---|---|---|")
    for batch in chosen.batches:
        sessions = list(generator.integers(0, ITEMS, (batch, SESSION)))
        prompts, lengths = padded_prompts(codes, sessions, SESSION)

        def cached(constrained: bool, prompts: np.ndarray = prompts, lengths: np.ndarray = lengths) -> object:
            return beam_search(TorchNetwork(model), prompts, lengths, trie, longest, BEAMS, constrained)

        calls: dict[str, Callable[[], object]] = {
            "plain": lambda prompts=prompts: plain_search(model, torch.from_numpy(prompts), longest, BEAMS),
            "cached": lambda cached=cached: cached(False),
            "trie": lambda cached=cached: cached(True),
        }
        taken = {name: 1000 * value for name, value in seconds(calls, chosen.repeats).items()}
        plain = taken["plain"]
        ratios = [f"{taken[name]:.1f} | {plain / taken[name]:.1f}" for name in ("cached", "trie")]
        print(f"| {batch} | {plain:.1f} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
