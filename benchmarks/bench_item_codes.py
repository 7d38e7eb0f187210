"""The four kinds of semantic IDs side by side, on the test items of each session, with several seeds.

    PYTHONPATH=src:. python benchmarks/bench_item_codes.py RUN OUT --seeds 0,1,2

RUN is a folder with the artifact `catalog` of pipeline `semantic_ids`. Every arm is trained alike, with the softmax
over all tokens and nothing that items or nodes have of their own, so that what differs is the IDs: `rq` are IDs of
fixed length with a last code that tells the items of one ID apart (TIGER's), the others are as `modit.semantic_ids`
makes them. OUT keeps the figures and the model of each arm; an arm that it has already is read from there. Nothing is
chosen here: settings are those of the command line.

The last lines compare arms: the mean over seeds of each user's figure, with intervals that resample users.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import SessionPart, Sessions, training_counts
from modit.evaluate.bootstrap import bootstrap_cases
from modit.evaluate.next_item.task import NextItemTask
from modit.evaluate.params import NextItemParams
from modit.index.item_codes import CODES_FILE, ItemCodes, order_of_ties
from modit.inference.next_item import SessionRetriever
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.params import RetrieverParams, TokenizerParams
from modit.semantic_ids.retriever import torch_retriever
from modit.semantic_ids.tokenizer import describe, tokenize
from modit.semantic_ids.training import SessionPrediction, new_decoder
from modit.training.session import run_stage

ARMS: dict[str, dict[str, Any]] = {
    "rq": {"method": "rq", "collisions": "suffix"},
    "sarq": {"method": "sarq"},
    "acrq": {"method": "acrq", "collisions": "suffix"},
    "sa2crq": {"method": "sa2crq"},
}
COMPARED = ("recall_at_10", "ndcg_at_10")
PAIRS = (("sa2crq", "rq"), ("sarq", "rq"), ("acrq", "rq"), ("sa2crq", "sarq"), ("sa2crq", "acrq"))
_LOGGER = logging.getLogger("bench_item_codes")


def item_codes(catalog: Catalog, sessions: Sessions, arm: str, session_share: float, seed: int) -> ItemCodes:
    """The IDs of an arm."""
    counts = training_counts(sessions.training, len(catalog))
    params = TokenizerParams(session_share=session_share, **ARMS[arm])
    own = derived_seed(seed, "tokenize_items")
    return tokenize(catalog.embeddings, counts, order_of_ties(catalog.item_ids), params, own, sessions.training)[1]


def trained(sessions: Sessions, codes: ItemCodes, options: argparse.Namespace, seed: int, folder: Path) -> Decoder:
    """Trains a decoder over these IDs, and keeps both under `folder` as the steps of the pipeline do."""
    params = RetrieverParams(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        dropout=options.dropout,
        softmax="vocabulary",
        own_vectors=False,
        log_every=250,
    )
    own = derived_seed(seed, "train_retriever")
    places = [folder / name for name in ("item_codes", "next_item_retriever")]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    codes.save(places[0] / CODES_FILE)
    stage = SessionPrediction("train_retriever", codes, sessions.training, params)
    return run_stage(new_decoder(codes, params, own), stage, params, own, places[1], folder, _LOGGER)


def judged(catalog: Catalog, sessions: Sessions, codes: ItemCodes, model: Decoder, beams: int) -> dict[str, Any]:
    """Figures of a decoder, and those of each test user under `users`."""
    within, free = (
        SessionRetriever(torch_retriever(model, codes, constrained=constrained, beams=beams))
        for constrained in (True, False)
    )
    task = NextItemTask(sessions, len(catalog), "", "", NextItemParams(), free)
    cases = task.cases(SessionPart.TEST)
    start = time.process_time()
    results = within.retrieve(cases.requests)
    asked = 1e3 * (time.process_time() - start) / len(cases)
    facts = task.split_facts(SessionPart.TEST, cases, {}, {"arm": results}, 0)
    scores = task.judge(cases, results)
    some = [request.history for request in cases.requests[:512]]
    return {
        "codes": describe(codes, 0.8),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "milliseconds_a_query": asked,
        "steps_a_query": float(np.mean([within.ids.search([each], beams).steps for each in some])),
        "hallucination": facts["unconstrained"]["hallucination"],
        "items_per_query": float(scores["items_per_query"].mean()),
        "slices": facts["rows_by_slice"],
        "users": {name: scores[name] for name in COMPARED},
        "masks": {part.name: part.mask for part in task.slices(SessionPart.TEST, cases, None)},
    }


def arm(run: Path, out: Path, name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of an arm and seed, trained or read."""
    path, users = out / f"{name}-{seed}.json", out / f"{name}-{seed}.npz"
    if not path.exists():
        catalog = Catalog.load(run / "catalog")
        sessions = Sessions(catalog.sequences)
        codes = item_codes(catalog, sessions, name, options.session_share, seed)
        model = trained(sessions, codes, options, seed, out / f"{name}-{seed}")
        found = judged(catalog, sessions, codes, model, options.beams)
        np.savez(users, **found.pop("users"), **found.pop("masks"))
        path.write_text(json.dumps(found))
    found = json.loads(path.read_text())
    with np.load(users) as values:
        found["users"] = dict(values)
    recall = {part: round(values["arm"]["recall_at_10"], 4) for part, values in found["slices"].items()}
    means = {figure: round(float(found["users"][figure].mean()), 4) for figure in COMPARED}
    shown = ("hallucination", "items_per_query", "steps_a_query", "milliseconds_a_query", "parameters")
    lengths = {name: found["codes"][name] for name in ("mean_length_head", "mean_length_tail", "ids")}
    figures = {**means, **recall, **{key: round(found[key], 4) for key in shown}, **lengths}
    print(json.dumps({"arm": name, "seed": seed, **figures}), flush=True)
    return found


def main() -> None:
    """Prints a line for each arm and seed, then one for each pair of arms and slice."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path, help="folder that keeps what is done")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--session-share", type=float, default=TokenizerParams().session_share)
    parser.add_argument("--beams", type=int, default=20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(options).items()}
    print(json.dumps({"machine": platform.platform(), "threads": torch.get_num_threads(), **settings}), flush=True)
    names, seeds = options.arms.split(","), [int(seed) for seed in options.seeds.split(",")]
    found = {name: [arm(options.run, options.out, name, seed, options) for seed in seeds] for name in names}
    for better, worse in PAIRS:
        if better in found and worse in found:
            for line in compared(found[better], found[worse]):
                print(json.dumps({"pair": f"{better} - {worse}", **line}))


def compared(better: list[dict[str, Any]], worse: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences with intervals over users, of all and of each slice."""
    users, lines = better[0]["users"], []
    masks = {"all": np.ones(len(users[COMPARED[0]]), bool)} | {
        name: values for name, values in users.items() if name not in COMPARED
    }
    for figure in COMPARED:
        pairs = [np.mean([each["users"][figure] for each in side], axis=0) for side in (better, worse)]
        for part, mask in masks.items():
            if mask.any():
                mean, low, high = bootstrap_cases((pairs[0] - pairs[1])[mask], resamples=2_000)
                line = {"difference": round(mean, 4), "low": round(low, 4), "high": round(high, 4)}
                lines.append({"figure": figure, "slice": part, **line})
    return lines


if __name__ == "__main__":
    main()
