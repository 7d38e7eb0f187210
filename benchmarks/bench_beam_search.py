"""Our beam search over semantic IDs beside `generate` of Hugging Face's transformers with the same weights.

Run `pip install transformers`, then `PYTHONPATH=src:. python benchmarks/bench_beam_search.py RUN`. RUN is a folder with
the artifacts `item_codes` and `next_item_retriever`.

The decoder is a Llama but for the bias of its output layer, which is added to Llama's. Both search the same sessions of
20 items with 20 beams, within the trie of IDs (transformers by `prefix_allowed_tokens_fn`) and over all tokens. An ID
that both find must have the same log-probability. `generate` keeps IDs that have ended apart from the beams and stops
by another rule, so that the last of the 20 can differ. Calls alternate and the median of the processor time counts, so
that other work on the machine does not. The second table is one recommendation as it is served: the session's items are
excluded, ten items, wall-clock time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from modit.core.machine import usable_cores
from modit.export.next_item import export_decoder
from modit.index.beam_search import Beams, NextTokens, beam_search
from modit.index.id_retrieval import IdRetriever, padded_prompts
from modit.index.item_codes import CODES_FILE, END, PAD, ItemCodes
from modit.inference.next_item import OnnxNetwork, SessionRetriever
from modit.inference.next_item_files import ENCODE_FILE, STEP_FILE
from modit.inference.runtime import open_graph
from modit.inference.sessions import SessionQuery
from modit.semantic_ids.decoder import ROPE_BASE, Block, Decoder, TorchNetwork
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder

SESSION, BEAMS, ITEMS = 20, 20, 10
TOLERANCE = 1e-4


def llama_of(model: Decoder, longest: int) -> Any:
    """The decoder as `LlamaForCausalLM`, with the bias of its output layer, and -inf for tokens that never come."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = model.config
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=round(config.mlp_ratio * config.width),
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            rms_norm_eps=torch.finfo(torch.float32).eps,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
            max_position_embeddings=longest,
            tie_word_embeddings=False,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
    )
    made.lm_head = nn.Linear(config.width, config.vocabulary)
    with torch.no_grad():
        made.model.embed_tokens.weight.copy_(model.embed.weight)
        made.lm_head.weight.copy_(model.embed.weight)
        made.lm_head.bias.copy_(model.bias)
        made.lm_head.bias[:END] = -torch.inf
        made.model.norm.weight.copy_(model.norm.weight)
        for layer, each in zip(made.model.layers, model.blocks, strict=True):
            block = cast(Block, each)
            attention, mlp = layer.self_attn, layer.mlp
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            for linear, weight in zip(parts, block.qkv.weight.chunk(3), strict=True):
                linear.weight.copy_(weight)
            attention.o_proj.weight.copy_(block.out.weight)
            for linear, weight in zip((mlp.gate_proj, mlp.up_proj), block.up.weight.chunk(2), strict=True):
                linear.weight.copy_(weight)
            mlp.down_proj.weight.copy_(block.down.weight)
            layer.input_layernorm.weight.copy_(block.norm_attention.weight)
            layer.post_attention_layernorm.weight.copy_(block.norm_mlp.weight)
    return made.eval()


def next_tokens_of(codes: ItemCodes) -> dict[tuple[int, ...], list[int]]:
    """The tokens that may follow each prefix of an ID."""
    found: dict[tuple[int, ...], set[int]] = {}
    for row in codes.tokens.tolist():
        spelled = [token for token in row if token != PAD]
        for place, token in enumerate(spelled):
            found.setdefault(tuple(spelled[:place]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in found.items()}


class Generate:
    """`transformers`' beam search."""

    def __init__(self, model: Decoder, codes: ItemCodes) -> None:
        self.longest = codes.tokens.shape[1]
        self.model = llama_of(model, 4 + (SESSION + 1) * self.longest)
        self.following = next_tokens_of(codes)

    @torch.inference_mode()
    def __call__(self, prompts: np.ndarray, lengths: np.ndarray, constrained: bool) -> tuple[np.ndarray, np.ndarray]:
        """IDs [B, W, S], and the log-probability of each [B, W]."""
        rows, room = prompts.shape
        padded, mask = np.full_like(prompts, PAD), np.zeros_like(prompts)
        for row, length in enumerate(lengths.tolist()):  # it wants padding at the start
            padded[row, room - length :], mask[row, room - length :] = prompts[row, :length], 1

        def allowed(_: int, text: torch.Tensor) -> list[int]:
            return self.following.get(tuple(text[room:].tolist()), [PAD])

        found = self.model.generate(
            input_ids=torch.from_numpy(padded),
            attention_mask=torch.from_numpy(mask),
            max_new_tokens=self.longest,
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            do_sample=False,
            length_penalty=0.0,
            output_scores=True,
            return_dict_in_generate=True,
            prefix_allowed_tokens_fn=allowed if constrained else None,
        )
        ids = found.sequences[:, room:].reshape(rows, BEAMS, -1)
        return ids.numpy(), found.sequences_scores.reshape(rows, BEAMS).numpy()


def compared(beams: Beams, ids: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Greatest difference of log-probabilities of IDs that both found, and the share of IDs that both found."""
    difference, both = 0.0, []
    for spelled, own, theirs, their_scores in zip(beams.tokens, beams.log_probabilities, ids, scores, strict=True):
        known = {tuple(row[row != PAD].tolist()): float(score) for row, score in zip(spelled, own, strict=True)}
        found = {tuple(row[row != PAD].tolist()): float(score) for row, score in zip(theirs, their_scores, strict=True)}
        shared = [each for each in found if each in known and each[-1] == END]
        both.append(len(shared) / len(known))
        difference = max([difference, *(abs(found[each] - known[each]) for each in shared)])
    return difference, statistics.mean(both)


def milliseconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor time of each call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if repeat:  # the first call is slower
                taken[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in taken.items()}


def latency(retriever: SessionRetriever, generator: np.random.Generator, requests: int) -> np.ndarray:
    """Wall-clock milliseconds of each of some recommendations."""
    taken = []
    for number in range(requests + 5):
        session = generator.integers(0, len(retriever.codes), SESSION)
        start = time.perf_counter()
        retriever.retrieve([SessionQuery(session, ITEMS, session)])
        if number >= 5:
            taken.append(1000 * (time.perf_counter() - start))
    return np.array(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--requests", type=int, default=500)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    codes = ItemCodes.load(chosen.run / "item_codes" / CODES_FILE)
    model = load_decoder(chosen.run / "next_item_retriever" / MODEL_FILE, codes)
    if model.config.within_trie or model.config.items:
        parser.error(
            f"{chosen.run}: transformers cannot hold these weights; "
            "allowed: a run with train_retriever.softmax vocabulary and train_retriever.own_vectors false"
        )
    with tempfile.TemporaryDirectory() as folder:
        export_decoder(model, Path(folder))
        onnx = OnnxNetwork(*(open_graph(Path(folder) / name, threads=1) for name in (ENCODE_FILE, STEP_FILE)))
    trie, longest = codes.trie, codes.tokens.shape[1]
    generate = Generate(model, codes)

    def ours(network: NextTokens[Any], prompts: np.ndarray, lengths: np.ndarray, constrained: bool) -> Beams:
        return beam_search(network, prompts, lengths, trie, longest, BEAMS, constrained)

    print(f"{platform.processor() or platform.machine()}, {usable_cores()} cores, one thread")
    print(f"{len(codes)} items, {trie.identifiers} IDs, vocabulary {codes.vocabulary}, sessions of {SESSION} items\n")
    print("| sessions | search | transformers ms | torch ms | ratio | ONNX ms | ratio | same IDs |")
    print("|---|---|---|---|---|---|---|---|")
    for batch in chosen.batches:
        sessions = list(generator.integers(0, len(codes), (batch, SESSION)))
        prompts, lengths = padded_prompts(codes, sessions, SESSION)
        for constrained in (True, False):
            given = prompts, lengths, constrained
            calls: dict[str, Callable[[], object]] = {
                "transformers": lambda given=given: generate(*given),
                "torch": lambda given=given: ours(TorchNetwork(model), *given),
                "onnx": lambda given=given: ours(onnx, *given),
            }
            ids, scores = generate(*given)
            for network in (TorchNetwork(model), onnx):
                difference, share = compared(ours(network, *given), ids, scores)
                if difference > TOLERANCE:
                    raise SystemExit(f"log-probabilities differ by {difference}: the networks are not the same")
            taken = milliseconds(calls, chosen.repeats)
            ratios = [f"{taken[name]:.1f} | {taken['transformers'] / taken[name]:.1f}" for name in ("torch", "onnx")]
            where = "within the trie" if constrained else "over all tokens"
            print(f"| {batch} | {where} | {taken['transformers']:.1f} | {' | '.join(ratios)} | {share:.0%} |")
    print("\n| network | p50 ms | p99 ms |\n|---|---|---|")
    for name, network in (("torch", TorchNetwork(model)), ("ONNX", onnx)):
        retriever = SessionRetriever(IdRetriever(network, codes, model.config.session_items, beams=BEAMS))
        found = latency(retriever, generator, chosen.requests)
        print(f"| {name} | {np.percentile(found, 50):.1f} | {np.percentile(found, 99):.1f} |")


if __name__ == "__main__":
    main()
