"""The judgement of one domain: every row on both test splits, with intervals, comparisons, seed counts and titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modit.core.errors import ConfigError
from modit.data.splits import HOLDOUTS, TEST, TRAIN, VALIDATION, Split
from modit.data.vectors import mean_of_rows
from modit.evaluate.comparisons import best_row, compare, figures_beside, planned_pairs, table_row
from modit.evaluate.examples import titled_examples
from modit.evaluate.generators import Generator, model_queries
from modit.evaluate.oracles import best_of_candidates
from modit.evaluate.rival import CHAMPION, ExportedRow, Rival
from modit.evaluate.seed_counts import seed_count_curve, shuffled_seeds
from modit.evaluate.slices import FEW_SEEDS, Pair, case_masks, slice_table
from modit.evaluate.storage import SCHEMA_VERSION, Evaluation
from modit.evaluate.tuning import Tuned, classical_queries, tune_classical_rows
from modit.evaluate.world import CaseScores, World, first_cases_of, judge
from modit.metric.cases import Cases

STAGES = ("Pre. GR", "CPT only", "MO-DiT", "HPPO")
AVERAGE, POLICY, CENTROID_ORACLE, BEST_ORACLE = "Average pooling", "HPPO", "Oracle tail centroid", "Oracle best of 8"


@dataclass(frozen=True)
class EvaluationSettings:
    """How a domain is judged.

    Attributes:
        seed: of the generators' noise, of seed subsets and of the resampling.
        resamples: B of the bootstrap.
        seed_count_cases: first cases of a split that the curve over seed counts takes; they stay stratified by pattern.
        examples: cases with titles in each split.
    """

    seed: int = 0
    resamples: int = 10_000
    seed_count_cases: int = 300
    examples: int = 3


def evaluate_domain(
    world: World,
    generators: Sequence[Generator],
    settings: EvaluationSettings,
    rival: Rival | None = None,
    precisions: Mapping[str, ExportedRow] | None = None,
) -> Evaluation:
    """Judges all rows of a domain on its held-out cases.

    A split without cases, or without validation cases to tune the classical rows on, is skipped with its reason.

    Args:
        world: the domain.
        generators: the rows that are models; the four of `STAGES` must be among them, others are variants.
        settings: seeds and sizes.
        rival: the champion, a row and what slices are compared with; without one, that is average pooling.
        precisions: name -> file of HPPO with weights of less precision, whose loss to HPPO is measured.

    Raises:
        ConfigError: a stage is missing or a row occurs twice.
    """
    _check_names([generator.name for generator in generators])
    splits: dict[str, Any] = {}
    per_case: dict[str, np.ndarray] = {}
    for split in HOLDOUTS:
        reason = _reason_to_skip(world, split)
        if reason:
            splits[split] = {"cases": 0, "reason": reason}
            continue
        tuned = tune_classical_rows(world, world.cases[split.validation])
        judged = _SplitJudgement(world, split, tuned, tuple(generators), settings, rival, precisions or {})
        splits[split], arrays = judged.run()
        per_case |= arrays
    content = {
        "schema_version": SCHEMA_VERSION,
        "domain": world.domain,
        "k": world.k,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "validation_k": world.validation_k,
        "sampler": {"steps": generators[0].sampler.steps, "samples": generators[0].sampler.samples},
        "catalog": _catalog_facts(world),
        "splits": splits,
    }
    return Evaluation(content, per_case)


@dataclass(frozen=True)
class _SplitJudgement:
    world: World
    split: Split
    tuned: dict[str, Tuned]
    generators: tuple[Generator, ...]
    settings: EvaluationSettings
    rival: Rival | None
    precisions: Mapping[str, ExportedRow]

    @property
    def cases(self) -> Cases:
        return self.world.cases[self.split]

    @property
    def against(self) -> str:
        """The row that slices are compared with."""
        return CHAMPION if self.rival else AVERAGE

    def run(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        queries = self._queries()
        scores = {name: judge(self.world, self.cases, value) for name, value in queries.items()}
        policy = next(generator for generator in self.generators if generator.name == POLICY)
        scores[BEST_ORACLE] = best_of_candidates(self.world, self.cases, policy, queries[POLICY], self.settings.seed)
        first_cases = first_cases_of(self.cases, self.settings.seed_count_cases)
        content = {
            "cases": len(self.cases),
            "patterns": len(np.unique(self.cases.patterns)),
            "skipped_patterns": skipped_patterns(self.world, self.split),
            "seeds": [int(self.cases.lengths.min()), int(np.median(self.cases.lengths)), int(self.cases.lengths.max())],
            "validation_cases": len(self.world.cases[self.split.validation]),
            "rows": [self._row(name, value) for name, value in scores.items()],
            "seeds_counted": self._seeds_counted(queries),
            "examples": titled_examples(
                self.world, self.cases, {name: queries[name] for name in (AVERAGE, POLICY)}, self.settings.examples
            ),
            "seed_counts": seed_count_curve(
                self.world, first_cases, self.split, policy, self.settings.seed, self.settings.resamples
            ),
            "seed_count_cases": len(first_cases),
            "slices_against": self.against,
            "slices": self._slices(scores, first_cases, policy),
        }
        rounded = {name: self._judge_exported(row) for name, row in self.precisions.items()}
        content["precisions"] = self._precisions(scores[POLICY], rounded)
        named = {f"{POLICY} {name}": value for name, value in rounded.items()}
        return content | self._comparisons(scores), self._per_case(scores | named)

    def _queries(self) -> dict[str, np.ndarray]:
        embeddings, cases = self.world.catalog.embeddings, self.cases
        queries = classical_queries(self.world, cases, self.tuned)
        for generator in self.generators:
            queries[generator.name] = model_queries(generator, embeddings, cases.seeds, self.settings.seed)
        if self.rival:
            queries[CHAMPION] = self.rival.queries(embeddings, cases.seeds, self.settings.seed)
        queries[CENTROID_ORACLE] = mean_of_rows(embeddings, cases.tails)
        return queries

    def _row(self, name: str, scores: CaseScores) -> dict[str, Any]:
        guidance = {generator.name: generator.guidance for generator in self.generators}
        kind = "classical" if name in self.tuned else "model" if name in guidance else "oracle"
        kind = "champion" if name == CHAMPION else kind
        row = table_row(name, kind, scores, self.cases.patterns, self.settings.seed, self.settings.resamples)
        row["tuned"] = self.tuned[name].as_json() if name in self.tuned else None
        row["guidance"] = guidance.get(name)
        return row

    def _comparisons(self, scores: dict[str, CaseScores]) -> dict[str, Any]:
        on_test = best_row({name: float(scores[name].joint.mean()) for name in self.tuned})
        on_validation = best_row({name: choice.validation_joint for name, choice in self.tuned.items()})
        variants = [generator.name for generator in self.generators if generator.name not in STAGES]
        others = [*variants, *([CHAMPION] if self.rival else [])]
        pairs = planned_pairs(list(self.tuned), others, on_test, on_validation)
        seed, resamples, patterns = self.settings.seed, self.settings.resamples, self.cases.patterns
        return {
            "best_classical": {"test": on_test, "validation": on_validation},
            "comparisons": [compare(name, pair, scores, patterns, seed, resamples) for name, pair in pairs],
        }

    def _slices(self, scores: dict[str, CaseScores], first_cases: Cases, policy: Generator) -> list[dict[str, Any]]:
        world, seed = self.world, self.settings.seed
        embeddings = world.catalog.embeddings
        subset = shuffled_seeds(first_cases, self.split, seed)[:, :FEW_SEEDS]
        other = self.rival.queries(embeddings, subset, seed) if self.rival else mean_of_rows(embeddings, subset)
        hppo = model_queries(policy, embeddings, subset, seed)
        few = Pair(judge(world, first_cases, hppo), judge(world, first_cases, other), first_cases.patterns)
        new_items = self.rival.new_items if self.rival else None
        masks = case_masks(self.cases, world.patterns.labels, world.positive, new_items)
        whole = Pair(scores[POLICY], scores[self.against], self.cases.patterns)
        return slice_table(whole, masks, few, seed, self.settings.resamples)

    def _judge_exported(self, row: ExportedRow) -> CaseScores:
        queries = row.queries(self.world.catalog.embeddings, self.cases.seeds, self.settings.seed)
        return judge(self.world, self.cases, queries)

    def _precisions(self, policy: CaseScores, rounded: Mapping[str, CaseScores]) -> dict[str, Any]:
        patterns, seed, resamples = self.cases.patterns, self.settings.seed, self.settings.resamples
        return {name: figures_beside(scores, policy, patterns, seed, resamples) for name, scores in rounded.items()}

    def _seeds_counted(self, queries: dict[str, np.ndarray]) -> dict[str, float]:
        """Mean Joint@K if seeds were counted as results; shown, never compared."""
        return {
            name: float(judge(self.world, self.cases, queries[name], exclude_seeds=False).joint.mean())
            for name in (AVERAGE, POLICY)
        }

    def _per_case(self, scores: dict[str, CaseScores]) -> dict[str, np.ndarray]:
        arrays = {f"{self.split}/patterns": self.cases.patterns}
        for name, value in scores.items():
            arrays |= {f"{self.split}/{name}/joint": value.joint, f"{self.split}/{name}/same": value.same}
        return arrays


def skipped_patterns(world: World, split: Split) -> list[int]:
    """Patterns that have items in the split but no case: too small to be judged. Ascending."""
    present = np.unique(world.patterns.labels[world.patterns.members_of(split)])
    return [int(pattern) for pattern in np.setdiff1d(present, world.cases[split].patterns)]


def headline(content: dict[str, Any]) -> dict[str, Any]:
    """Joint@K of each split's comparisons by name, or the reason why a split was skipped: what the manifest says."""
    return {
        split: {entry["name"]: round(entry["joint"]["mean"], 4) for entry in result["comparisons"]}
        if result["cases"]
        else result["reason"]
        for split, result in content["splits"].items()
    }


def _check_names(names: list[str]) -> None:
    missing = [name for name in STAGES if name not in names]
    if missing or len(set(names)) < len(names):
        raise ConfigError(f"rows of models are {names}; allowed: each name once, {', '.join(STAGES)} among them")


def _reason_to_skip(world: World, split: Split) -> str | None:
    for name in (split, split.validation):
        if not len(world.cases[name]):
            patterns = len(skipped_patterns(world, name))
            return f"no {name} case: each of its {patterns} patterns has too few items for a case"
    return None


def _catalog_facts(world: World) -> dict[str, Any]:
    split = world.patterns.pattern_split
    names = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    return {
        "items": len(world.catalog),
        "dimension": world.catalog.dimension,
        "positives": int(world.positive.sum()),
        "train_items": int(world.patterns.trainable.sum()),
        "patterns": {name: int((split == value).sum()) for name, value in names.items()},
        "item_split": {name: int((world.patterns.item_split == value).sum()) for name, value in names.items()},
        "index_kind": world.index.kind,
        "index_digest": world.index.digest,
    }
