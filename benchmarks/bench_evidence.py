"""What evidence costs a query: the same questions with known verdicts looked up, and with none, in turn.

One thread, as in a worker of the service: the exported sampler, an exact index with its narrow copy, random items.

    PYTHONPATH=src:. python benchmarks/bench_evidence.py --sampler runs/NAME/sampler/popular/sampler.onnx
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch

from modit.data.vectors import unit
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.retrieval import Query, SamplerRetriever
from modit.inference.runtime import load_sampler
from modit.metric.evidence import KnownVerdicts


def main() -> None:
    """Prints the median and the 99 % quantile of both, in ms, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampler", type=Path, required=True, help="a file whose vote has local moves")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--scored", type=float, default=0.3, help="share of the items with a verdict")
    parser.add_argument("--questions", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    sampler = load_sampler(chosen.sampler, threads=1)
    if not sampler.info.uses_evidence:
        parser.error(f"{chosen.sampler}: its vote has no local move")
    generator = np.random.default_rng(0)
    items = unit(generator.standard_normal((chosen.items, sampler.info.dimension), np.float32))
    ids = np.array([str(number) for number in range(chosen.items)])
    with tempfile.TemporaryDirectory() as folder:
        ItemIndex.build(items, ids, IndexParams(kind="flat", threads=1)).save(Path(folder))
        index = ItemIndex.load(Path(folder), narrow_copy=True)
    verdicts = KnownVerdicts(items, items[:, 0] > 0.15, generator.random(chosen.items) < chosen.scored)
    rows = generator.integers(0, chosen.items, (chosen.questions, sampler.info.maximum_seeds))
    retrievers = {
        "with": SamplerRetriever(sampler, index, verdicts=verdicts),
        "without": SamplerRetriever(sampler, index),
    }
    times: dict[str, list[float]] = {name: [] for name in retrievers}
    for number, seeds in enumerate(rows):
        for name in sorted(retrievers, reverse=bool(number % 2)):
            start = time.perf_counter()
            retrievers[name].retrieve([Query(items[seeds], 10, exclude=seeds)])
            times[name].append(1000 * (time.perf_counter() - start))
    quantiles = {name: np.quantile(each[len(each) // 10 :], [0.5, 0.99]) for name, each in times.items()}
    for name, (median, slowest) in quantiles.items():
        print(json.dumps({"evidence": name, "p50_ms": round(median, 2), "p99_ms": round(slowest, 2)}))
    print(json.dumps({"ratio_p50": round(quantiles["with"][0] / quantiles["without"][0], 3)}))


if __name__ == "__main__":
    main()
