"""Arms of alignment from one trained retriever, at equal steps: RAD-DPO with its rivals, AdaGRPO with its mixtures.

    PYTHONPATH=src:. python benchmarks/bench_alignment.py RUN --family preferences --seeds 0

RUN is a folder with the artifacts `catalog`, `item_codes` and `next_item_retriever` of pipeline `semantic_ids`. Every
arm starts from that retriever and trains as many steps on the same rows; the supervised loss alone for as many steps is
the control. One session in ten is left out of alignment (the retriever itself was trained on it): on its steps are
measured the mean log-probability of the next item and of the items after it, and the recall of both kinds. Recall@10
and hallucination of unconstrained beams are of validation cases; test items are not read.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from modit.core.seeds import derived_seed, stream
from modit.data.catalog import Catalog, Sequences
from modit.data.sessions import SessionPart, Sessions, training_counts
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.semantic_ids.adagrpo import RewardAlignment, stratified_lift
from modit.semantic_ids.alignment import with_dropout
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.losses import similarities
from modit.semantic_ids.params import AdaGrpoParams, PreferenceParams, RewardRankerParams
from modit.semantic_ids.rad_dpo import PreferenceAlignment
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder, torch_retriever
from modit.semantic_ids.reward_ranker import RewardRanker, auc_by_popularity, fit_reward_ranker
from modit.training.loop import Stage, step_generator, train
from modit.training.session import Journal

_PLAIN = {"sft_weight": 0.0}
PREFERENCES: dict[str, dict[str, Any]] = {
    "SFT continued": {"method": "sft"},
    "DPO, next item": {"method": "dpo", "multi_label": False, **_PLAIN},
    "DPO, all positives": {"method": "dpo", **_PLAIN},
    "S-DPO, next item": {"method": "s_dpo", "multi_label": False, **_PLAIN},
    "SimPO, next item": {"method": "simpo", "multi_label": False, **_PLAIN},
    "RAD-DPO": {},
    "RAD-DPO without TLGD": {"detach_prefix": False},
    "RAD-DPO without RDRW": {"reweight": False},
    "RAD-DPO without MLGC": {"multi_label": False},
    "RAD-DPO, lambda 0.1": {"sft_weight": 0.1},
    "RAD-DPO without SFT": _PLAIN,
}
REWARDS: dict[str, dict[str, Any]] = {
    "NLL continued": {"gate": "never"},
    "GRPO only": {"gate": "always", "likelihood": 0.0},
    "NLL + 0.1 GRPO": {"gate": "always", "weight": 0.1},
    "NLL + 0.5 GRPO": {"gate": "always", "weight": 0.5},
    "NLL + 1.0 GRPO": {"gate": "always"},
    "AdaGRPO": {},
    "difficulty only": {"gate": "difficult"},
    "discriminability only": {"gate": "discriminative"},
}
_LOGGER = logging.getLogger("bench_alignment")


@dataclass(frozen=True)
class Material:
    """What all arms share.

    Attributes:
        codes: IDs of all items.
        model: the retriever before alignment.
        training: sessions that arms train on.
        left_out: sessions that they do not.
        counts: training interactions of each item.
        sessions: all of them, for validation cases.
        catalog: of the run.
        cases: how many validation cases, and steps of left-out sessions, are judged.
    """

    codes: ItemCodes
    model: Decoder
    training: Sequences
    left_out: Sequences
    counts: np.ndarray
    sessions: Sessions
    catalog: Catalog
    cases: int

    @classmethod
    def load(cls, run: Path, cases: int) -> Material:
        """Reads the artifacts of a run."""
        catalog = Catalog.load(run / "catalog")
        sessions = Sessions(catalog.sequences)
        training = sessions.training
        out = stream(0, "left out of alignment").random(len(training)) < 0.1  # noqa: PLR2004 - one in ten
        parts = [subset(training, np.flatnonzero(chosen)) for chosen in (~out, out)]
        codes, model = ItemCodes.load(run / "item_codes" / CODES_FILE), run / "next_item_retriever" / MODEL_FILE
        counts = training_counts(training, len(catalog))
        return cls(codes, load_decoder(model, codes), parts[0], parts[1], counts, sessions, catalog, cases)


def subset(sequences: Sequences, chosen: np.ndarray) -> Sequences:
    """Some of the sequences."""
    parts = [sequences[int(index)] for index in chosen]
    return Sequences(np.concatenate([[0], np.cumsum([len(part) for part in parts])]), np.concatenate(parts))


def judge(material: Material, model: Decoder) -> dict[str, float]:
    """Figures of one model."""
    model, codes = model.eval(), material.codes
    params = PreferenceParams(batch=material.cases)
    rows = PreferenceAlignment(
        "judged",
        codes,
        material.left_out,
        material.counts,
        params.model_copy(update={"reweight": False}),
        model,
        model,
        0,
    )
    batch = rows.batch(step_generator(0, "judged", 0), material.cases)
    with torch.no_grad():
        scored = rows.candidates(model, batch)
    first = scored.positive & (scored.positive.cumsum(1) == 1)
    later = scored.positive & ~first
    figures = {
        "next item": float(scored.totals[first].mean()),
        "later items": float(scored.totals[later].mean()),
        "negatives": float(scored.totals[scored.negative].mean()),
    }
    histories, targets = (getattr(material.sessions, name)(SessionPart.VALIDATION) for name in ("histories", "targets"))
    chosen = np.sort(stream(0, "judged cases").permutation(len(targets))[: material.cases])
    asked = [histories[int(case)] for case in chosen]
    found = torch_retriever(model, codes).recommend(asked, 10)
    hits = [target in answer.rows for target, answer in zip(targets[chosen], found, strict=True)]
    free = torch_retriever(model, codes, constrained=False).recommend(asked[:500], 10)
    figures["recall@10"] = float(np.mean(hits))
    figures["hallucination"] = sum(each.invalid for each in free) / sum(each.decoded for each in free)
    figures["distinct items"] = float(len({row for answer in found for row in answer.rows.tolist()}))
    return figures


def trained(material: Material, stage: Stage[Decoder], params: PreferenceParams | AdaGrpoParams, seed: int) -> Decoder:
    """The retriever after one round of a stage."""
    journal = Journal(stage.name, params.steps, _LOGGER)
    return train(with_dropout(material.model, params.dropout), stage, params, seed, journal)


def preferences(material: Material, arm: dict[str, Any], options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """An arm of preference alignment; with injected false negatives, also how well weights tell them."""
    params = PreferenceParams(
        steps=options.steps, learning_rate=options.learning_rate, rounds=1, false_negatives=options.false_negatives
    ).model_copy(update=arm)
    model = material.model
    stage = PreferenceAlignment(
        "preferences", material.codes, material.training, material.counts, params, model, model, seed
    )
    figures: dict[str, Any] = {}
    if options.false_negatives:
        batch = stage.batch(step_generator(seed, "weights", 0), 512)
        with torch.no_grad():
            scored = stage.candidates(model, batch)
        alike = similarities(scored)[:, 0, params.positives :]
        true = alike[batch["negative"][:, params.positives :] & ~batch["injected"]]
        wrong = alike[batch["injected"]]
        share = len(wrong) / (len(wrong) + len(true))
        figures = {"injected": share, "similarity AUC": float((wrong[:, None] > true).float().mean())}
    return figures | judge(material, trained(material, stage, params, seed))


def rewards(
    material: Material, arm: dict[str, Any], options: argparse.Namespace, seed: int, ranker: RewardRanker
) -> dict[str, Any]:
    """An arm of reward alignment, with the share of rows whose reward is used."""
    params = AdaGrpoParams(steps=options.steps, learning_rate=options.learning_rate, rounds=1, log_every=1)
    params = params.model_copy(update=arm)
    stage = RewardAlignment("rewards", material.codes, material.training, params, ranker, material.model)
    journal = Journal(stage.name, params.steps, _LOGGER)
    model = train(with_dropout(material.model, params.dropout), stage, params, seed, journal)
    admitted = [point["admitted"] for point in journal.curve if "admitted" in point]
    return {"admitted": float(np.mean(admitted)) if admitted else 0.0} | judge(material, model)


def fitted_ranker(material: Material, options: argparse.Namespace, seed: int) -> RewardRanker:
    """The reward model, and on the first line what it is like."""
    params = RewardRankerParams(corrupted=options.corrupted)
    with TemporaryDirectory() as name:
        place = Path(name)
        ranker = fit_reward_ranker(
            material.catalog.embeddings, material.training, material.counts, params, seed, place, place, _LOGGER
        )
    histories, targets = (getattr(material.sessions, name)(SessionPart.VALIDATION) for name in ("histories", "targets"))
    chosen = np.arange(min(4_000, len(targets)))
    asked = [histories[int(case)][-params.window :] for case in chosen]
    for row in auc_by_popularity(ranker, asked, targets[chosen], material.counts, seed):
        print(json.dumps(row))
    stage = RewardAlignment("lift", material.codes, material.training, AdaGrpoParams(), ranker, material.model)
    for cell in stratified_lift(stage, material.model, 1_024, seed):
        print(json.dumps(cell), flush=True)
    return ranker


def main() -> None:
    """Prints a line of figures for each arm and seed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--family", choices=("preferences", "rewards"), default="preferences")
    parser.add_argument("--arms", default="", help="names of arms, separated by semicolons; all by default")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--false-negatives", type=float, default=0.0)
    parser.add_argument("--corrupted", type=float, default=0.0)
    options = parser.parse_args()
    print(json.dumps({"machine": platform.platform(), "threads": torch.get_num_threads(), "steps": options.steps}))
    material = Material.load(options.run, options.cases)
    print(json.dumps({"arm": "before", **rounded(judge(material, material.model))}), flush=True)
    arms = PREFERENCES if options.family == "preferences" else REWARDS
    chosen = [name for name in options.arms.split(";") if name] or list(arms)
    for seed in map(int, options.seeds.split(",")):
        own, ranker, rate = derived_seed(seed, "bench_alignment"), None, 0.0
        if options.family == "rewards":
            ranker = fitted_ranker(material, options, own)
        for name in chosen:
            start = time.perf_counter()
            if ranker is None:
                figures = preferences(material, arms[name], options, own)
            else:
                figures = rewards(material, arms[name], options, own, ranker)
                rate = figures["admitted"] if name == "AdaGRPO" else rate
            report(name, seed, figures, start)
        if ranker is not None and rate:
            start = time.perf_counter()
            random = {"gate": "random", "random_rate": rate}
            report("random gate", seed, rewards(material, random, options, own, ranker), start)


def report(name: str, seed: int, figures: dict[str, Any], start: float) -> None:
    """Prints the line of an arm."""
    seconds = round(time.perf_counter() - start, 1)
    print(json.dumps({"arm": name, "seed": seed, **rounded(figures), "seconds": seconds}), flush=True)


def rounded(figures: dict[str, Any]) -> dict[str, float]:
    """Figures with four decimals."""
    return {name: round(float(value), 4) for name, value in figures.items()}


if __name__ == "__main__":
    main()
