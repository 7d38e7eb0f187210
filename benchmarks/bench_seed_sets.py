"""Whether a set of queries finds more of a pattern's good regions than one query of equal depth.

    PYTHONPATH=src:. python benchmarks/bench_seed_sets.py runs/NAME

Takes a finished run of the pipeline retrain. The good items of a case are those that may be results, have the attribute
and are in the pattern of the seeds. k-means deals them into regions, at most `--regions` for a pattern. A row returns
one pool of items for a case, as many as Joint@K is judged on times `--depth`. Its coverage is the share of the regions
of which the pool has a good item; its recall the share of all good items.

Rows: the served query alone, and its list of three times the length reordered by MMR or by a DPP; the average of the
seeds; a set of queries, whose lists take turns. A set has a query for each part of the seeds (k-means): the mean of the
part, or the query that the model generates for it. The model's own query fills a share of the pool, chosen on
validation cases by coverage, as are the number of parts and the weights of MMR and DPP. Intervals resample patterns.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.data.merging import merged, mixed
from modit.data.splits import HOLDOUTS, Split
from modit.data.vectors import unit
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.fan_out.rows import DPP_GRID, MMR_GRID, determinantal_choice, maximal_marginal_relevance
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.task import CaseSet
from modit.index.params import RetrievalParams
from modit.inference.retrieval import Query, SamplerRetriever, generate_queries
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SAMPLER_FILE

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
PARTS, OWN_SHARES = (2, 4, 8), (0.0, 0.25, 0.5, 0.75)
LONGER = 3
ONE, AVERAGE, MMR, DPP = "One query", "Average pooling", "One list, MMR", "One list, DPP"
MEANS, MODEL = "Means of parts", "Model on parts"
RESAMPLES = 10_000

# Pools of rows of the catalogue, one for each case.
Pools = Sequence[np.ndarray]
Setting = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Exam:
    """The cases of a split of a domain, and all that rows are made of.

    Attributes:
        context: The domain.
        retriever: The exported one.
        split: Of the cases.
        depth: Length of a pool over the judged depth.
        regions: Most regions of a pattern.
    """

    context: EvaluationContext
    retriever: SamplerRetriever
    split: Split
    depth: float
    regions: int

    @cached_property
    def cases(self) -> CaseSet[Query]:
        """The cases, each with a pool's length as k."""
        cases = SeedsTask(self.context).cases(self.split)
        k = max(1, round(self.depth * self.context.depth(self.split)))
        return replace(cases, requests=[replace(request, k=k) for request in cases.requests])

    @cached_property
    def truth(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The good items of each case and their regions."""
        good, labels = self.context.allowed(self.split) & self.context.positive, self.context.patterns.labels
        by_pattern: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        found = []
        for request, pattern in zip(self.cases.requests, self.cases.clusters.tolist(), strict=True):
            if pattern not in by_pattern:
                rows = np.flatnonzero(good & (labels == pattern))
                by_pattern[pattern] = rows, clustered(self.context.catalog.embeddings[rows], self.regions)
            rows, regions = by_pattern[pattern]
            left = ~np.isin(rows, request.exclude)
            found.append((rows[left], regions[left]))
        return found

    @cached_property
    def own(self) -> np.ndarray:
        """The served query of each case, unit [n, d]."""
        return self.queries(self.cases.requests)

    def queries(self, requests: Sequence[Query]) -> np.ndarray:
        """The served queries of requests."""
        vectors = generate_queries(self.retriever.sampler, requests, self.retriever.verdicts)
        assert self.retriever.patterns is not None
        return self.retriever.patterns.moved(vectors, [request.seeds for request in requests])

    def lists(self, vectors: np.ndarray, owners: Sequence[int], k: int) -> list[np.ndarray]:
        """The list of each query [m, d] of the cases that they belong to."""
        exclude = [self.cases.requests[owner].exclude for owner in owners]
        found = self.context.index.search(vectors, k, self.cases.requests[0].allowed, exclude)
        return [rows[rows >= 0] for rows in found.rows]

    @cached_property
    def own_lists(self) -> list[np.ndarray]:
        """The lists of the served queries, `LONGER` times as long as a pool."""
        return self.lists(self.own, range(len(self.own)), LONGER * self.pool)

    @property
    def pool(self) -> int:
        """Items of a pool."""
        return self.cases.requests[0].k

    def parts(self, count: int) -> list[list[np.ndarray]]:
        """The seeds of each case in at most `count` parts of at least two seeds."""
        if count not in self._parts:
            self._parts[count] = [
                [request.seeds[labels == part] for part in np.unique(labels)]
                for request in self.cases.requests
                for labels in [clustered(request.seeds, min(count, max(1, len(request.seeds) // 2)))]
            ]
        return self._parts[count]

    @cached_property
    def _parts(self) -> dict[int, list[list[np.ndarray]]]:
        return {}

    def coverage(self, pools: Pools) -> np.ndarray:
        """The share of the regions that each pool has an item of [n]."""
        shares = []
        for pool, (rows, regions) in zip(pools, self.truth, strict=True):
            shares.append(len(np.unique(regions[np.isin(rows, pool)])) / max(1, len(np.unique(regions))))
        return np.array(shares)

    def recall(self, pools: Pools) -> np.ndarray:
        """The share of the good items that each pool has [n]."""
        return np.array(
            [
                np.isin(rows, pool).mean() if len(rows) else 0.0
                for pool, (rows, _) in zip(pools, self.truth, strict=True)
            ]
        )

    def one(self, setting: Setting) -> Pools:
        """The list of the served query."""
        return [rows[: self.pool] for rows in self.own_lists]

    def average(self, setting: Setting) -> Pools:
        """The list of the seeds' mean."""
        means = np.stack([unit(unit(request.seeds).mean(0)) for request in self.cases.requests])
        return self.lists(means, range(len(means)), self.pool)

    def reordered(
        self, choose: Callable[[np.ndarray, np.ndarray, int, float], np.ndarray]
    ) -> Callable[[Setting], Pools]:
        """The pool that a rule chooses from the longer list of the served query."""

        def make(setting: Setting) -> Pools:
            pools = []
            for query, rows in zip(self.own, self.own_lists, strict=True):
                items = np.asarray(self.context.catalog.embeddings[rows], np.float32)
                places = choose(items @ query, items, min(self.pool, len(rows)), setting["relevance"])
                pools.append(rows[places])
            return pools

        return make

    def by_parts(self, model: bool) -> Callable[[Setting], Pools]:
        """Queries of the parts of the seeds, and the served query's share."""

        def make(setting: Setting) -> Pools:
            lists = self._lists_of_parts(model, int(setting["parts"]))
            return [
                mixed(own[: self.pool], merged(padded(each), len(each) * self.pool), setting["own"], self.pool)
                for own, each in zip(self.own_lists, lists, strict=True)
            ]

        return make

    def _lists_of_parts(self, model: bool, count: int) -> list[list[np.ndarray]]:
        if (model, count) not in self._made:
            parts = self.parts(count)
            owners = [case for case, each in enumerate(parts) for _ in each]
            flat = [part for each in parts for part in each]
            if model:
                requests = self.cases.requests
                vectors = self.queries(
                    [replace(requests[own], seeds=part) for own, part in zip(owners, flat, strict=True)]
                )
            else:
                vectors = np.stack([unit(unit(part).mean(0)) for part in flat])
            found: list[list[np.ndarray]] = [[] for _ in parts]
            for owner, rows in zip(owners, self.lists(vectors, owners, self.pool), strict=True):
                found[owner].append(rows)
            self._made[model, count] = found
        return self._made[model, count]

    @cached_property
    def _made(self) -> dict[tuple[bool, int], list[list[np.ndarray]]]:
        return {}

    def rows(self) -> dict[str, tuple[list[dict[str, float]], Callable[[Setting], Pools]]]:
        """Name -> settings to choose from, and what makes the pools at one."""
        shares = [{"parts": parts, "own": own} for parts in PARTS for own in OWN_SHARES]
        return {
            ONE: ([{}], self.one),
            AVERAGE: ([{}], self.average),
            MMR: (MMR_GRID, self.reordered(maximal_marginal_relevance)),
            DPP: (DPP_GRID, self.reordered(determinantal_choice)),
            MEANS: (shares, self.by_parts(model=False)),
            MODEL: (shares, self.by_parts(model=True)),
        }


def clustered(points: np.ndarray, count: int) -> np.ndarray:
    """The cluster of each point, int [n]: at most `count`, and at most one for each different point."""
    count = min(count, len(np.unique(points, axis=0)))
    if count < 2:
        return np.zeros(len(points), int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KMeans(count, n_init=3, random_state=0).fit(np.asarray(points, np.float32)).labels_


def padded(lists: Sequence[np.ndarray]) -> np.ndarray:
    """Lists of one length [k, n]; a shorter one repeats its last row."""
    length = max(len(each) for each in lists)
    return np.stack([np.pad(each, (0, length - len(each)), "edge") for each in lists])


def judge(run: Path, domain: str, retrieval: RetrievalParams, depth: float, regions: int) -> list[dict[str, Any]]:
    """The figures of a domain, a line for each hold-out and row."""
    folders = {name: run / name for name in ("catalog", "patterns", "index")}
    folders |= {name: run / name / domain for name in ("predictor", "cases")}
    context = EvaluationContext.load(folders, domain, retrieval)
    sampler = load_sampler(run / "sampler" / domain / SAMPLER_FILE)
    retriever = SamplerRetriever(sampler, context.index, True, context.known_verdicts, context.known_patterns)
    lines = []
    for split in HOLDOUTS:
        exams = {each: Exam(context, retriever, each, depth, regions) for each in (split, split.validation)}
        if not all(len(context.cases[each]) for each in exams):
            continue
        test, validation = (exams[each].rows() for each in (split, split.validation))
        results = {}
        for name, (grid, make) in validation.items():
            figures = [exams[split.validation].coverage(make(setting)).mean() for setting in grid]
            chosen = grid[int(np.argmax(figures))]
            pools = test[name][1](chosen)
            results[name] = (chosen, exams[split].coverage(pools), exams[split].recall(pools))
        clusters = exams[split].cases.clusters
        base = results[ONE]
        for name, (chosen, coverage, recall) in results.items():
            line: dict[str, Any] = {"domain": domain, "split": str(split), "row": name, "chosen": dict(chosen)}
            line |= {"coverage": round(float(coverage.mean()), 4), "recall": round(float(recall.mean()), 4)}
            for what, mine, other in (("coverage", coverage, base[1]), ("recall", recall, base[2])):
                line[f"{what} over one query"] = short(paired_interval(mine - other, clusters, 0, RESAMPLES))
            lines.append(line)
        best = max((DPP, MMR, ONE), key=lambda name: results[name][1].mean())
        over = {
            name: short(paired_interval(results[name][1] - results[best][1], clusters, 0, RESAMPLES))
            for name in (MEANS, MODEL)
        }
        facts = {"domain": domain, "split": str(split), "pool": exams[split].pool, "best of one list": best}
        lines.append(facts | {"coverage over it": over})
    return lines


def short(interval: Mapping[str, Any]) -> list[float | None]:
    """Mean and interval over patterns."""
    values = (interval[name] for name in ("mean", "pattern_low", "pattern_high"))
    return [None if value is None else round(float(value), 4) for value in values]


def main() -> None:
    """Prints a line of JSON for each domain, hold-out and row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--depth", type=float, default=1.0)
    parser.add_argument("--regions", type=int, default=8)
    chosen = parser.parse_args()
    runner = StepRunner(REGISTRY, str(chosen.run), PARAMS)
    for domain in runner.domains():
        for line in judge(chosen.run, domain, RetrievalParams(), chosen.depth, chosen.regions):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
