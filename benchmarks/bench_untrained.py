"""Joint@K of a domain before anything is trained for it, by the number of its verdicts: leaving one domain out.

python -m benchmarks.bench_untrained ../runs/retail ../runs/goodbooks

Each domain of a run is left out in turn. Its cases are judged by discovery, as in the evaluation; its verdicts are a
random part of those that training may see. Every setting - moves, weights of the vote, depth and weight of the
reranking, and whether items outside the seeds' cluster of positives come last - is chosen on validation cases of the
run's other domains, at the same number of their verdicts; `vote (trained)` takes the other domains' votes with all
their verdicts, as a `readout.json` has them, but chosen on validation cases alone; `modit query --verdicts` is the same
with less trust in few verdicts, and with the second stage that is served. The last two lines are how far the
probabilities of the logistic model are from the truth on items whose verdict nobody has used.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modit.core.seeds import derived_seed, stream
from modit.data.splits import HOLDOUTS, VALIDATIONS, Split
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.queries import DomainKnowledge, local_feedback
from modit.evaluate.seeds.rows import ClosedFormRow
from modit.evaluate.seeds.task import SeedsTask, first_cases_of
from modit.evaluate.task import CaseSet
from modit.export.sampler import export_vote
from modit.hppo.readout import mean_of_kinds, voters
from modit.index.params import RetrievalParams
from modit.inference.rerank import AttributeValues, RerankRetriever, StoredLogOdds, fetch_deeper, rerank
from modit.inference.retrieval import Query, Retriever, SamplerRetriever
from modit.inference.untrained import FEWEST_OF_A_KIND, UntrainedDomain, untrained_retriever
from modit.inference.vote_file import VOTE_FILE, VoteFile, WeightedMove, load_vote
from modit.metric.attribute_model import LogisticModel, fit_calibrated_logistic
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import fit_on_verdicts
from modit.model.readout import FIXED_MOVES, LOCAL_MOVES, MOVES, Move

SEEDS = 64  # more than any case has
COUNTS = (100, 300, 1_000, 5_000)
ALL = COUNTS[-1]
VALIDATION_CASES, HOLDOUT_CASES = 40, 300
DEPTHS, WEIGHTS = (3, 6, 12, 25), (0.01, 0.02, 0.04, 0.08, 0.15)
# Whether only the attribute counts, or the seeds' cluster of known positives first; depth; weight.
RERANKINGS = tuple(product((False, True), DEPTHS, WEIGHTS))
TRAINED = "vote (trained)"
SERVED = "`modit query --verdicts`"
# Starts of the names of rows that vote.
_OURS = ("vote", "`modit")
Vote = list[WeightedMove]
# A number of verdicts and a row.
Place = tuple[int, str]


class Joint(NamedTuple):
    """Joint@K of the cases of a cell [n], in [0, 1], and their patterns [n]."""

    values: np.ndarray
    patterns: np.ndarray


def vote_of(moves: list[Move], weights: list[float]) -> Vote:
    """The moves of a vote, as the retriever takes them."""
    return [WeightedMove(*move, weight) for move, weight in zip(moves, weights, strict=True)]


@dataclass(frozen=True, eq=False)
class Part:
    """A domain, known by a number of its verdicts."""

    task: SeedsTask
    count: int
    seed: int
    file: VoteFile

    @cached_property
    def verdicts(self) -> KnownVerdicts:
        """A random part of those that training may see; the parts are nested."""
        known = self.task.context.known_verdicts
        order = stream(self.seed, "part", self.task.domain).permutation(np.flatnonzero(known.known))
        mask = np.zeros(len(known.known), bool)
        mask[order[: self.count]] = True
        return replace(known, known=mask)

    @cached_property
    def knowledge(self) -> DomainKnowledge:
        """What closed-form queries may use."""
        context = self.task.context
        return DomainKnowledge(
            self.verdicts,
            *fit_on_verdicts(self.verdicts, context.index, context.k, self.seed),
            KnownPatterns.of(self.verdicts, context.patterns.labels),
        )

    @cached_property
    def log_odds(self) -> Callable[[np.ndarray], np.ndarray]:
        """Of a logistic regression on the verdicts, calibrated on those left out of a fit."""
        return fit_calibrated_logistic(self.verdicts, FEWEST_OF_A_KIND, self.seed)[1].__getitem__

    def values(self, within: bool) -> AttributeValues:
        """What a classical second stage orders by."""
        return AttributeValues(self.log_odds, self.clusters if within else None)

    @cached_property
    def clusters(self) -> KnownPatterns:
        """Of the known positives, as the served second stage has them."""
        return KnownPatterns.clustered(self.verdicts, self.seed)

    @cached_property
    def uncalibrated(self) -> StoredLogOdds:
        """The same without calibration."""
        return StoredLogOdds.of(self.verdicts.embeddings, LogisticModel(self.verdicts, self.seed).log_odds)

    def cases(self, split: Split, most: int) -> CaseSet[Query]:
        """The first cases of a split."""
        return self.task.case_set(split, first_cases_of(self.task.context.cases[split], most))

    @cached_property
    def figures(self) -> np.ndarray:
        """Joint@K of every move on validation, [G]: the mean over patterns, then over kinds."""
        row = ClosedFormRow("", local_feedback, [m._asdict() for m in MOVES], self.knowledge, self.task.context.index)
        judged = []
        for split in VALIDATIONS:
            cases = self.cases(split, VALIDATION_CASES)
            if len(cases):
                joint = np.stack([self.task.decide(cases, found) for found in row.answers(cases.requests)])
                judged.append((split, cases.clusters, joint))
        return mean_of_kinds(judged)

    def retriever(self, vote: Vote) -> SamplerRetriever:
        """Answers with a vote of moves."""
        sampler = self.file.sampler(self.task.domain, vote, self.knowledge.geometry)
        return SamplerRetriever(sampler, self.task.context.index, verdicts=self.verdicts)

    def reranked_figures(self, vote: Vote) -> np.ndarray:
        """Joint@K on validation of every one of `RERANKINGS`."""
        judged = []
        for split in VALIDATIONS:
            cases = self.cases(split, VALIDATION_CASES)
            if len(cases):
                lists = fetch_deeper(self.retriever(vote), cases.requests, max(DEPTHS))
                pairs = list(zip(lists, cases.requests, strict=True))
                values = [[self.values(within)(each, found.rows) for found, each in pairs] for within in (False, True)]
                joint = [
                    self.task.decide(
                        cases,
                        [
                            rerank(found, own, request.k, depth, weight)
                            for (found, request), own in zip(pairs, values[within], strict=True)
                        ],
                    )
                    for within, depth, weight in RERANKINGS
                ]
                judged.append((split, cases.clusters, np.stack(joint)))
        return mean_of_kinds(judged)

    def judge(self, retriever: Retriever[Query]) -> list[Joint]:
        """Joint@K of the cases of each hold-out."""
        found = []
        for split in HOLDOUTS:
            cases = self.cases(split, HOLDOUT_CASES)
            if len(cases):
                found.append(Joint(self.task.decide(cases, retriever.retrieve(cases.requests)), cases.clusters))
        return found

    def calibration(self, log_odds: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """Of items whose verdict nobody has used: expected calibration error over ten tenths, and log-loss."""
        unseen = np.flatnonzero(self.task.context.allowed(Split.ITEM_HOLDOUT))
        positive, odds = self.task.context.positive[unseen], log_odds(unseen)
        probability = 1 / (1 + np.exp(-odds))
        tenths = np.array_split(np.argsort(probability, kind="stable"), 10)
        error = np.mean([abs(probability[rows].mean() - positive[rows].mean()) for rows in tenths])
        loss = -np.mean(np.where(positive, np.log(probability), np.log1p(-probability)))
        return float(error), float(loss)


def choose(others: list[Part]) -> dict[str, Vote]:
    """The rows, with settings that other domains prefer."""
    mean = np.mean([other.figures for other in others], 0)
    fixed, local = mean[: len(FIXED_MOVES)], mean[len(FIXED_MOVES) :]
    trained: dict[Move, float] = {}
    for other in others:
        for move, weight in zip(*voters(part_of(other.task, ALL, other.seed, other.file).figures), strict=True):
            trained[move] = trained.get(move, 0.0) + weight / len(others)
    return {
        "average": vote_of([MOVES[0]], [1.0]),
        "fixed move": vote_of([FIXED_MOVES[int(fixed.argmax())]], [1.0]),
        "local feedback": vote_of([LOCAL_MOVES[int(local.argmax())]], [1.0]),
        "vote (same count)": vote_of(*voters(mean)),
        TRAINED: vote_of(list(trained), list(trained.values())),
    }


@cache
def part_of(task: SeedsTask, count: int, seed: int, file: VoteFile) -> Part:
    """A domain known by a number of its verdicts; kept, because its figures are expensive."""
    return Part(task, count, seed, file)


def load(run: Path, domain: str) -> SeedsTask:
    """The task of a domain of a run."""
    folders = {name: run / name for name in ("catalog", "patterns", "index")}
    folders |= {name: run / name / domain for name in ("predictor", "cases")}
    return SeedsTask(EvaluationContext.load(folders, domain, RetrievalParams()))


def vote_file(dimension: int) -> VoteFile:
    """The vote of any moves, exported for this width."""
    with tempfile.TemporaryDirectory() as folder:
        export_vote(dimension, SEEDS, Path(folder) / VOTE_FILE)
        return load_vote(Path(folder))


def measure(
    run: Path, seed: int, show: Callable[[str], None]
) -> tuple[dict[Place, list[Joint]], dict[Place, list[float]]]:
    """Joint@K of each cell, and calibration errors of each domain, by number of verdicts and row."""
    domains = sorted(path.name for path in (run / "cases").iterdir() if path.is_dir())
    tasks = {domain: load(run, domain) for domain in domains}
    file = vote_file(tasks[domains[0]].context.catalog.dimension)
    found: dict[Place, list[Joint]] = {}
    errors: dict[Place, list[float]] = {}
    for count in COUNTS:
        parts = {domain: part_of(task, count, derived_seed(seed, "untrained"), file) for domain, task in tasks.items()}
        for domain, part in parts.items():
            others = [other for name, other in parts.items() if name != domain]
            for name, vote in choose(others).items():
                found.setdefault((count, name), []).extend(part.judge(part.retriever(vote)))
                figures = np.mean([other.reranked_figures(vote) for other in others], 0)
                within, depth, weight = RERANKINGS[int(figures.argmax())]
                second = RerankRetriever(part.retriever(vote), part.values(within), depth, weight)
                found.setdefault((count, f"{name} + rerank"), []).extend(part.judge(second))
                show(f"{run.name} {count} {domain} {name}: rerank {depth} x {weight}, in the cluster: {within}")
                if name == TRAINED:
                    context = part.task.context
                    given = (domain, part.verdicts, vote, file, context.index, context.k, part.seed)
                    served = UntrainedDomain.fit(untrained_retriever(*given), part.verdicts, part.seed)
                    for label, answers in (("", served.reranker), (" --no-rerank", served.retriever)):
                        row = f"{SERVED[:-1]}{label}`"
                        found.setdefault((count, row), []).extend(part.judge(answers))
            for words, log_odds in (("calibrated", part.log_odds), ("uncalibrated", part.uncalibrated)):
                error, loss = part.calibration(log_odds)
                show(f"{run.name} {count} {domain} {words}: calibration error {error:.3f}, log-loss {loss:.3f}")
                errors.setdefault((count, f"calibration error (points), {words}"), []).append(100 * error)
    return found, errors


def above_and_below(found: Mapping[Place, list[Joint]], count: int) -> tuple[int, int]:
    """Cells in which the served row is above, and below, the best row without a vote, by the 95% interval over cases.

    That row is chosen on the same cases, which favours it.
    """
    others = [cells for (number, name), cells in found.items() if number == count and not name.startswith(_OURS)]
    above = below = 0
    for place, cell in enumerate(found[count, SERVED]):
        best = max((cells[place].values for cells in others), key=lambda values: float(values.mean()))
        interval = paired_interval(cell.values - best, cell.patterns, 0, 10_000)
        above, below = above + (interval["case_low"] > 0), below + (interval["case_high"] < 0)
    return above, below


def main(runs: list[str]) -> None:
    """Prints a table for each run."""
    for run in map(Path, runs):
        found, errors = measure(run, 0, lambda line: print(line, file=sys.stderr, flush=True))
        print(f"\n| {run.name} | " + " | ".join(f"{count:,}" for count in COUNTS) + " |\n|---|" + "---|" * len(COUNTS))
        means = {each: [100 * float(cell.values.mean()) for cell in cells] for each, cells in found.items()} | errors
        for name in dict.fromkeys(name for _, name in means):
            print(f"| {name} | " + " | ".join(f"{np.mean(means[count, name]):.1f}" for count in COUNTS) + " |")
        counted = [above_and_below(found, count) for count in COUNTS]
        words = f"cells of {len(found[ALL, SERVED])} above, below the best row without a vote"
        print(f"| {words} | " + " | ".join(f"{above}, {below}" for above, below in counted) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
