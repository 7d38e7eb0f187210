"""The task `seeds`: cases, figures and oracles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from modit.data.splits import HOLDOUTS, TEST, TRAIN, VALIDATION, Split
from modit.data.vectors import mean_of_rows
from modit.evaluate import names
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.seeds.comparisons import compared_rows
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.examples import titled_examples
from modit.evaluate.seeds.models import Generator, case_noise, fan_queries
from modit.evaluate.seeds.seed_counts import counts_for, in_case_order, shuffled_seeds
from modit.evaluate.seeds.slices import DEFINITIONS, FEW, FEW_SEEDS, NEW, NO_CHAMPION, SLICES, case_masks
from modit.evaluate.seeds.verdict_counts import Informed, informed_by_parts, verdict_curve
from modit.evaluate.seeds.worked_examples import worked_examples
from modit.evaluate.task import CaseSet, Comparisons, Figure, Row, Scores, Slice
from modit.inference.retrieval import Query, SearchResult, search_together
from modit.metric.cases import Cases
from modit.metric.list_metrics import ListMetrics, list_metrics

CENTROID_ORACLE, BEST_ORACLE = "Oracle tail centroid", "Oracle best of 8"
FAN = (1.0, 2.0, 3.0, 6.0)
DEPTHS = (0.2, 0.5, 0.7, 1.0)
_VALIDATION_NOISE = 0


class SeedsTask:
    """A caller gives seeds of one pattern. Joint@K, the share of results with the attribute and the pattern, decides.

    Attributes:
        context: The domain.
        noise_seed: Of the models' noise on the hold-outs, and of seed subsets.
        seed_count_cases: First cases of a split that the curve over seed counts takes.
        examples: Cases with titles in each split.
    """

    name = "seeds"
    primary = "joint"
    splits = HOLDOUTS
    policy, baseline, required_models = names.SERVED, names.AVERAGE, names.STAGES
    # Shares of the K results: with the attribute, in the seeds' pattern, and both; joint over attr; and how often a
    # held-out item of high density scores above a seed (0.5: the query leans neither way).
    figures = (
        Figure("auc"),
        Figure("attr"),
        Figure("same", compared=True),
        Figure("joint", compared=True),
        Figure("cond", partial=True),
    )

    def __init__(
        self, context: EvaluationContext, noise_seed: int = 0, seed_count_cases: int = 300, examples: int = 3
    ) -> None:
        self.context, self.domain, self.noise_seed = context, context.domain, noise_seed
        self.seed_count_cases, self.examples = seed_count_cases, examples

    def cases(self, split: Split) -> CaseSet[Query]:
        """The cases of a split as requests; the scope says which items may be results."""
        return self.case_set(split, self.context.cases[split])

    def case_set(self, split: Split, cases: Cases, seeds: np.ndarray | None = None) -> CaseSet[Query]:
        """Turns cases into requests. All seeds of a case stay out of its results.

        Args:
            split: Decides which items may be results, and the noise.
            cases: Of the split.
            seeds: Rows to ask with instead of all seeds of the cases, int32 [n, m] padded with -1.
        """
        context, validation = self.context, split.validation is split
        asked = cases.seeds if seeds is None else seeds
        noise = case_noise(len(cases), context.catalog.dimension, _VALIDATION_NOISE if validation else self.noise_seed)
        k, allowed = context.depth(split), context.allowed(split)
        requests = [
            Query(
                np.asarray(context.catalog.embeddings[rows[rows >= 0]], np.float32),
                k,
                exclude=own[own >= 0],
                allowed=allowed,
                noise=each[None],
            )
            for rows, own, each in zip(asked, cases.seeds, noise, strict=True)
        ]
        return CaseSet(requests, cases.patterns, cases)

    def judge(self, cases: CaseSet[Query], results: Sequence[SearchResult]) -> Scores:
        """Judges one result for each case; places that stay empty count as misses."""
        truth: Cases = cases.truth
        metrics = self._list_metrics(cases, results)
        embeddings = self.context.catalog.embeddings
        tails = [np.asarray(embeddings[rows[rows >= 0]]) for rows in truth.tails]
        seeds = [np.asarray(embeddings[rows[rows >= 0]]) for rows in truth.seeds]
        auc = within_pattern_auc(np.stack([result.query for result in results]), tails, seeds)
        return {"auc": auc, "attr": metrics.attr, "same": metrics.same, "joint": metrics.joint, "cond": metrics.cond}

    def decide(self, cases: CaseSet[Query], results: Sequence[SearchResult]) -> np.ndarray:
        """Joint@K of one result for each case, float64 [n]."""
        return self._list_metrics(cases, results).joint

    def judge_queries(self, cases: CaseSet[Query], vectors: np.ndarray) -> Scores:
        """Searches with one query vector for each case, unit [n, d], and judges the results."""
        return self.judge(cases, search_together(self.context.index, vectors, cases.requests))

    def comparisons(self, rows: Mapping[str, Row[Query]], scores: Mapping[str, Scores]) -> Comparisons:
        """HPPO and what is served of it with other rows, and MO-DiT with the pretrained generator."""
        return compared_rows(rows, scores, self.primary)

    def slices(self, split: Split, cases: CaseSet[Query], new_items: np.ndarray | None) -> list[Slice[Query]]:
        """Head and tail patterns, new items, and few seeds."""
        masks = case_masks(cases.truth, self._labels, self.context.positive, new_items)
        first = self._first_cases(cases.truth)
        few = self.case_set(split, first, shuffled_seeds(first, split, self.noise_seed)[:, :FEW_SEEDS])
        return [
            Slice(
                name,
                DEFINITIONS[name],
                mask=masks.get(name),
                cases=few if name == FEW else None,
                reason=NO_CHAMPION if name == NEW and new_items is None else None,
            )
            for name in SLICES
        ]

    def oracles(
        self, cases: CaseSet[Query], rows: Mapping[str, Row[Query]], results: Mapping[str, list[SearchResult]]
    ) -> dict[str, Scores]:
        """The ceilings of the training target and of choosing among HPPO's candidates, and the filter that needs all.

        The filter takes the positives nearest to the seeds' mean: what a user does where every verdict is stored.
        """
        context = self.context
        centroid = mean_of_rows(context.catalog.embeddings, cases.truth.tails)
        positives = cases.requests[0].allowed & context.positive
        stored = [replace(request, allowed=positives) for request in cases.requests]
        average = np.stack([result.query for result in results[names.AVERAGE]])
        return {
            names.FILTER: self.judge(cases, search_together(context.index, average, stored)),
            CENTROID_ORACLE: self.judge_queries(cases, centroid),
            BEST_ORACLE: self._best_of_candidates(cases, _generator(rows), results[names.POLICY]),
        }

    def reason_to_skip(self, split: Split) -> str | None:
        """Which split, this one or its validation split, has no case; None where both have some."""
        for name in (split, split.validation):
            if not len(self.context.cases[name]):
                patterns = len(self._skipped_patterns(name))
                return f"no {name} case: each of its {patterns} patterns has too few items for a case"
        return None

    def facts(self) -> dict[str, Any]:
        """K and what the catalogue is."""
        context = self.context
        roles = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
        by_pattern, by_item = context.patterns.pattern_split, context.patterns.item_split
        return {
            "scope": context.scope,
            "k": context.depth(Split.ITEM_HOLDOUT),
            "validation_k": context.depth(Split.ITEM_VALIDATION),
            "catalog": {
                "items": len(context.catalog),
                "dimension": context.catalog.dimension,
                "scored": int(context.scored.sum()),
                "may_be_results": int(context.allowed(Split.ITEM_HOLDOUT).sum()),
                "positives": int(context.positive.sum()),
                "train_items": int(context.patterns.trainable.sum()),
                "patterns": {name: int((by_pattern == value).sum()) for name, value in roles.items()},
                "item_split": {name: int((by_item == value).sum()) for name, value in roles.items()},
                "index_kind": context.index.kind,
                "index_digest": context.index.digest,
            },
        }

    def split_facts(
        self,
        split: Split,
        cases: CaseSet[Query],
        rows: Mapping[str, Row[Query]],
        results: Mapping[str, list[SearchResult]],
        resamples: int,
    ) -> dict[str, Any]:
        """Examples, the curves over verdicts and seeds, and Joint@K if seeds were counted as results."""
        truth, shown = cases.truth, (names.AVERAGE, names.POLICY)
        first = self._first_cases(truth)
        found = {name: result_rows(cases, results[name]) for name in shown}
        return {
            "skipped_patterns": self._skipped_patterns(split),
            "seeds": [int(truth.lengths.min()), int(np.median(truth.lengths)), int(truth.lengths.max())],
            "seeds_counted": {name: self._seeds_counted(cases, results[name]) for name in shown},
            "examples": titled_examples(self.context, truth, found, self.examples),
            "worked_examples": worked_examples(
                rows,
                {name: result_rows(cases, each) for name, each in results.items()},
                {name: self.decide(cases, each) for name, each in results.items()},
                truth,
                self.context.catalog.item_ids,
            ),
            "verdict_counts": verdict_curve(self, cases, rows, self._parts, self.noise_seed, resamples),
            "seed_counts": self._seed_counts(split, first, rows, resamples),
            "seed_count_cases": len(first),
        }

    @property
    def _labels(self) -> np.ndarray:
        return self.context.patterns.labels

    def _list_metrics(self, cases: CaseSet[Query], results: Sequence[SearchResult]) -> ListMetrics:
        rows = result_rows(cases, results)
        return list_metrics(rows, self.context.positive, self._labels, cases.truth.patterns)

    def _first_cases(self, cases: Cases) -> Cases:
        return first_cases_of(cases, self.seed_count_cases)

    def _skipped_patterns(self, split: Split) -> list[int]:
        """Patterns that have items in the split but no case: too small to be judged. Ascending."""
        present = np.unique(self._labels[self.context.patterns.members_of(split)])
        return [int(pattern) for pattern in np.setdiff1d(present, self.context.cases[split].patterns)]

    @cached_property
    def _parts(self) -> list[Informed]:
        context = self.context
        labels = context.patterns.labels
        return informed_by_parts(context.known_verdicts, labels, context.index, context.k, self.noise_seed)

    def _seed_counts(
        self, split: Split, cases: Cases, rows: Mapping[str, Row[Query]], resamples: int
    ) -> list[dict[str, Any]]:
        """Joint@K by the number of seeds given. Subsets are nested; a case with too few seeds gives all it has.

        For each count: the mean number of seeds; intervals of HPPO with seeds sorted and shuffled and of averaging; the
        paired difference of the last two; and the greatest difference of a coordinate between the first two queries.
        """
        shuffled = shuffled_seeds(cases, split, self.noise_seed)
        curve = []
        for count in counts_for(int(cases.lengths.max())):
            subset = shuffled[:, :count]
            asked = {
                "hppo_sorted": (names.POLICY, in_case_order(cases, subset)),
                "hppo_shuffled": (names.POLICY, subset),
                "average": (names.AVERAGE, subset),
            }
            joint, queries = {}, {}
            for name, (row, seeds) in asked.items():
                case_set = self.case_set(split, cases, seeds)
                results = rows[row].retriever.retrieve(case_set.requests)
                joint[name] = self.judge(case_set, results)["joint"]
                queries[name] = np.stack([result.query for result in results])
            joint["difference"] = joint["hppo_shuffled"] - joint["average"]
            point: dict[str, Any] = {
                name: paired_interval(value, cases.patterns, self.noise_seed, resamples)
                for name, value in joint.items()
            }
            point["count"], point["mean_count"] = count, float((subset >= 0).sum(1).mean())
            point["order_difference"] = float(np.abs(queries["hppo_sorted"] - queries["hppo_shuffled"]).max())
            curve.append(point)
        return curve

    def _seeds_counted(self, cases: CaseSet[Query], results: list[SearchResult]) -> float:
        requests = [replace(request, exclude=np.empty(0, np.int64)) for request in cases.requests]
        counted = CaseSet(requests, cases.clusters, cases.truth)
        return float(self.judge_queries(counted, np.stack([result.query for result in results]))["joint"].mean())

    def _best_of_candidates(self, cases: CaseSet[Query], policy: Generator, served: list[SearchResult]) -> Scores:
        """For each case, the scores of the candidate with the best Joint@K: 4 of HPPO's fan and 4 static (Table 9).

        Equal figures go to the higher Same@K, then to the earlier candidate. HPPO's own queries are not computed again
        where its guidance is a scale of the fan.
        """
        embeddings = self.context.catalog.embeddings
        others = [scale for scale in FAN if scale != policy.guidance]
        fan = fan_queries(policy.sampler, cases.requests, others, policy.verdicts).transpose(1, 0, 2)
        own = [np.stack([result.query for result in served])] if len(others) < len(FAN) else []
        static = [tail_centroids(embeddings, cases.truth.tails, depth) for depth in DEPTHS]
        scored = [self.judge_queries(cases, queries) for queries in [*own, *fan, *static]]
        # Joint is a multiple of 1/K, so a Same that weighs less than 1/K decides ties only.
        weight = 1 / (2 * cases.requests[0].k)
        best = np.stack([scores["joint"] + weight * scores["same"] for scores in scored]).argmax(0)
        case = np.arange(len(cases))
        return {name: np.stack([scores[name] for scores in scored])[best, case] for name in scored[0]}


def first_cases_of(cases: Cases, count: int) -> Cases:
    """The first `count` cases; cases take turns over the patterns, so these are stratified too."""
    return Cases(cases.seeds[:count], cases.tails[:count], cases.patterns[:count])


def result_rows(cases: CaseSet[Query], results: Sequence[SearchResult]) -> np.ndarray:
    """The rows of all results, int64 [n, K], -1 where fewer were found."""
    rows = np.full((len(results), max(request.k for request in cases.requests)), -1, np.int64)
    for line, result in zip(rows, results, strict=True):
        line[: len(result.rows)] = result.rows
    return rows


def within_pattern_auc(queries: np.ndarray, tails: list[np.ndarray], inputs: list[np.ndarray]) -> np.ndarray:
    """Measures whether the query leans to the high-metric tail of its pattern (Table 2; averaging is just under 0.5).

    Args:
        queries: Unit [B, d].
        tails: Embeddings of each case's held-out high-metric items, B arrays [t, d].
        inputs: Embeddings of each case's seeds, B arrays [m, d].

    Returns:
        [B], the chance that a tail item scores above an input item; ties count half.
    """
    values = np.empty(len(queries))
    for index, (query, tail, seeds) in enumerate(zip(queries, tails, inputs, strict=True)):
        difference = (tail @ query)[:, None] - (seeds @ query)[None, :]
        values[index] = (difference > 0).mean() + 0.5 * (difference == 0).mean()
    return values


def tail_centroids(embeddings: np.ndarray, tails: np.ndarray, depth: float) -> np.ndarray:
    """The unit centroid of the last `depth` of each tail, at least one item, [n, d].

    Args:
        embeddings: [N, d].
        tails: int32 [n, t] in ascending predicted density, padded with -1 at the end.
        depth: Share of the tail, in (0, 1].
    """
    lengths = (tails >= 0).sum(1)
    counts = np.maximum(1, np.round(depth * lengths)).astype(int)
    place = np.arange(tails.shape[1])
    kept = (place >= (lengths - counts)[:, None]) & (place < lengths[:, None])
    return mean_of_rows(embeddings, np.where(kept, tails, -1))


def _generator(rows: Mapping[str, Row[Query]]) -> Generator:
    policy = rows[names.POLICY].retriever
    if not isinstance(policy, Generator):
        raise TypeError(f"row {names.POLICY} is a {type(policy).__name__}; its oracle needs a Generator")
    return policy
