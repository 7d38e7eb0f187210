"""AUC of an attribute model and positives found: items that `modit score-next` lists, against random ones.

python -m benchmarks.bench_score_next ../shared/data/retail ../shared/data/goodbooks

The items asked for come from 70% of a catalogue, drawn anew for each seed; `AUC` is of the other 30%, `AUC rest` of all
items that were not asked for. The list is asked for in steps: 100, 200 more, 700 more. Each figure is a mean over
domains and seeds; `wins` counts the domain-seed pairs in which the list's AUC is above the random items'.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from modit.core.seeds import stream
from modit.data.catalog import NEGATIVE, NOT_SCORED, POSITIVE
from modit.data.vectors import unit
from modit.metric.attribute_model import LogisticModel
from modit.metric.evidence import KnownVerdicts
from modit.metric.score_next import items_to_score

COUNTS = (100, 300, 1_000)
SEEDS = range(8)
Chooser = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def random_items(embeddings: np.ndarray, verdicts: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows without a verdict, drawn at random."""
    return stream(seed, "random").permutation(np.flatnonzero(verdicts == NOT_SCORED))[:count]


CHOOSERS: dict[str, Chooser] = {"random": random_items, "score-next": items_to_score}


def measure(embeddings: np.ndarray, positive: np.ndarray, choose: Chooser, seed: int) -> list[tuple[float, ...]]:
    """For each count: AUC of the items kept apart, AUC of all items not asked for, positives found."""
    order = stream(seed, "apart").permutation(len(embeddings))
    apart, pool = order[: 3 * len(order) // 10], np.sort(order[3 * len(order) // 10 :])
    verdicts = np.full(len(pool), NOT_SCORED, np.int8)
    found = []
    for count in COUNTS:
        rows = choose(embeddings[pool], verdicts, count - int((verdicts != NOT_SCORED).sum()), seed)
        verdicts[rows] = np.where(positive[pool[rows]], POSITIVE, NEGATIVE)
        known = np.zeros(len(embeddings), bool)
        known[pool] = verdicts != NOT_SCORED
        score = LogisticModel(KnownVerdicts(embeddings, positive, known), seed).log_odds(embeddings)
        aucs = [roc_auc_score(positive[rows], score[rows]) for rows in (apart, np.flatnonzero(~known))]
        found.append((*aucs, float((known & positive).sum())))
    return found


def main(folders: list[str]) -> None:
    """Prints a table for each catalogue."""
    for folder in folders:
        table = pq.read_table(Path(folder) / "items.parquet")
        embeddings = unit(np.stack(table["embedding"].to_numpy()))
        domains = [name for name in table.column_names if name.startswith("attr_")]
        measured = {
            name: np.array(
                [
                    measure(embeddings, np.asarray(table[domain].to_pylist(), bool), choose, seed)
                    for domain in domains
                    for seed in SEEDS
                ]
            )
            for name, choose in CHOOSERS.items()
        }
        print(f"\n{Path(folder).name}: {len(table)} items, {len(domains)} domains, {len(SEEDS)} seeds")
        print("| verdicts | chosen by | AUC | AUC rest | positives | wins |\n|---|---|---|---|---|---|")
        for place, count in enumerate(COUNTS):
            wins = (measured["score-next"][:, place, 0] > measured["random"][:, place, 0]).sum()
            for name, figures in measured.items():
                auc, rest, positives = figures[:, place].mean(0)
                won = f"{wins} of {len(figures)}" if name == "score-next" else ""
                print(f"| {count:,} | {name} | {auc:.3f} | {rest:.3f} | {positives:.0f} | {won} |")


if __name__ == "__main__":
    main(sys.argv[1:])
