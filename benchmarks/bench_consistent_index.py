"""The four arms of SCI: plain or aligned towers, lists by the item view or by the query view, at equal scanned vectors.

Run `PYTHONPATH=src:. python benchmarks/bench_consistent_index.py RUN`; RUN has the artifacts `catalog` and `towers` of
the pipeline `towers`. A pair of a test query and a relevant item is a *cell hit* at a budget if the item's list is
among those that the query scans before the budget is spent: lists have other sizes in each arm, so equal numbers of
probes would not be equal work. Recall@10 and the overlap with exact search are at the number of probes that scans as
much on average.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Literal

import numpy as np

from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.index.consistent_index import ConsistentIndex
from modit.index.params import ConsistentIndexParams
from modit.towers.encoder import TextTowers, load_towers
from modit.towers.training import titles_of

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
K = 10
SPACES: tuple[Literal["item", "query"], ...] = ("item", "query")


def scanned_before_hit(
    index: ConsistentIndex, queries: np.ndarray, owners: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """Vectors that a query scans until the list of an item of its own is done, int64 [P].

    Args:
        index: of the arm.
        queries: f_q(Q) [B, d].
        owners: the query of each pair [P].
        items: the item of each pair [P].
    """
    order = index.probe_order(queries)
    done = np.empty_like(order)
    np.put_along_axis(done, order, index.sizes[order].cumsum(1), 1)  # once the list of that number is scanned
    return done[owners, index.assigned[items]]


def probes_for(index: ConsistentIndex, queries: np.ndarray, budget: float) -> int:
    """The most probes whose mean number of scanned vectors is within the budget; 1 if none is."""
    scanned = index.sizes[index.probe_order(queries)].cumsum(1).mean(0)
    return max(1, int((scanned <= budget).sum()))


def arm(
    towers: TextTowers,
    views: list[np.ndarray],
    space: Literal["query", "item"],
    texts: list[str],
    pairs: tuple[np.ndarray, np.ndarray],
) -> dict[str, list[float]]:
    """Cell hits, Recall@10 and overlap with exact search at each share of the catalogue, and milliseconds a query."""
    index = ConsistentIndex.build(views[0], views[1], ConsistentIndexParams(space=space), 0)
    queries, (owners, items) = towers.encode(texts, "query"), pairs
    exact = np.stack([np.argsort(-(views[1] @ query))[:K] for query in queries])
    waited = scanned_before_hit(index, queries, owners, items)
    found: dict[str, list[float]] = {"hits": [], "recall": [], "overlap": [], "probes": [], "milliseconds": []}
    for share in SHARES:
        budget = share * len(views[1])
        probes = probes_for(index, queries, budget)
        start = time.perf_counter()
        _, rows = index.search(queries, K, probes)
        found["milliseconds"].append(1000 * (time.perf_counter() - start) / len(queries))
        found["probes"].append(probes)
        found["hits"].append(float((waited <= budget).mean()))
        found["recall"].append(recall(rows, owners, items))
        found["overlap"].append(float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, rows, strict=True)])))
    return found | {"exact": [recall(exact, owners, items)], "sizes": [float(index.sizes.std() / index.sizes.mean())]}


def recall(rows: np.ndarray, owners: np.ndarray, items: np.ndarray) -> float:
    """The mean over queries of the share of their relevant items that are in their list."""
    hit = (rows[owners] == items[:, None]).any(1)
    return float((np.bincount(owners, hit) / np.maximum(1, np.bincount(owners)))[np.unique(owners)].mean())


def main() -> None:
    """Prints the figures of all arms as tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--relevant-min", type=float, default=2.5)
    chosen = parser.parse_args()
    titles, judged = titles_of(Catalog.load(chosen.run / "catalog")), JudgedQueries.load(chosen.run / "catalog")
    numbers = judged.of(QueryPart.TEST)
    is_pair = np.isin(judged.owners, numbers) & (judged.relevance >= chosen.relevant_min)
    pairs = np.searchsorted(numbers, judged.owners[is_pair]), judged.items[is_pair]
    texts, results = judged.texts[numbers].tolist(), dict[tuple[str, str], dict[str, list[float]]]()
    for kind in ("base", "symmaligner"):
        towers = load_towers(chosen.run / "towers" / kind)
        views = [towers.encode(titles, side) for side in ("query", "item")]
        results |= {(kind, space): arm(towers, views, space, texts, pairs) for space in SPACES}
    print(f"{len(texts):,} test queries, {len(pairs[0]):,} relevant items, {len(titles):,} items, one thread")
    head = " | ".join(f"{share:.2%}" for share in SHARES)
    for figure in ("hits", "recall", "overlap", "probes", "milliseconds"):
        print(f"\n| {figure}, at scanned | {head} |\n|---|---|{'---|' * len(SHARES)}")
        for (kind, space), found in results.items():
            form = "{:.0f}" if figure == "probes" else "{:.3f}"
            print(f"| {kind}, {space} space | {' | '.join(form.format(value) for value in found[figure])} |")
    print("\n| arm | exact Recall@10 | deviation of list sizes over their mean |\n|---|---|---|")
    for (kind, space), found in results.items():
        print(f"| {kind}, {space} space | {found['exact'][0]:.3f} | {found['sizes'][0]:.2f} |")


if __name__ == "__main__":
    main()
