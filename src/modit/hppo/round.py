"""One HPPO round: candidates from the current policy, labels from the real index, pairs, a short preference epoch.

Shape legend: n cases, p candidates of a case, P pairs, N items, d width of an embedding, L items of a trajectory,
m seeds, K results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from modit.core.context import DeclaredParams
from modit.core.memory import at_once
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.vectors import mean_of_rows
from modit.hppo.candidates import Labels, build_pool, label_candidates, static_candidates
from modit.hppo.params import HPPOParams
from modit.hppo.preferences import PairData, Pairs, PreferenceStage, build_pairs, shrink_to_kind
from modit.hppo.validation import Validator, load_validator
from modit.index.searchable import SearchableIndex
from modit.metric.list_metrics import visible_depth
from modit.metric.patterns import PatternViews
from modit.metric.predictor import DomainGeometry
from modit.metric.trajectories import Trajectories
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.readout import step_directions
from modit.model.sampler import CASES_AT_ONCE, Sampler, blends_of_seeds, generate_queries
from modit.training.distributed import from_first
from modit.training.loop import Log, train
from modit.training.params import OptimizerParams, SamplerParams
from modit.training.stages import subset_rows

# The artifacts that `load_context` reads.
ARTIFACTS = ("catalog", "patterns", "predictor", "trajectories", "cases", "index")


@dataclass(frozen=True)
class RoundContext:
    """What the rounds of a domain work on, but for models and section `hppo`.

    Attributes:
        embeddings: unit [N, d].
        positive: items that the scorer gives the attribute, bool [N].
        labelled: scored training items, bool [N]. Only these are results when a candidate is labelled.
        views: the pseudo-patterns of the trajectories.
        trajectories: of the domain.
        geometry: of the domain.
        index: the staged index, pinned by digest.
        k: K, results judged for a candidate.
        validator: the stop rule.
        sampler: section `sampler`.
        seeds: m, items at the head of a trajectory that seeds are drawn from.
        full_share: share of the training cases that keep all m.
    """

    embeddings: np.ndarray
    positive: np.ndarray
    labelled: np.ndarray
    views: PatternViews
    trajectories: Trajectories
    geometry: DomainGeometry
    index: SearchableIndex
    k: int
    validator: Validator
    sampler: SamplerParams
    seeds: int
    full_share: float


def load_context(folders: Mapping[str, Path], domain: str, params: DeclaredParams) -> RoundContext:
    """Reads the artifacts of a domain.

    Items that are not scored are never results here: an unknown verdict is no reward. K shrinks with the share of
    items that can be results, so that a list covers the same neighbourhood (docs/adr/0035).

    Args:
        folders: of the `ARTIFACTS`.
        domain: which one.
        params: of the run.
    """
    catalog = Catalog.load(folders["catalog"])
    validator = load_validator(folders, domain, params)
    labelled = validator.patterns.trainable & catalog.scored(domain)
    return RoundContext(
        embeddings=catalog.embeddings,
        positive=validator.positive,
        labelled=labelled,
        views=PatternViews.load(folders["trajectories"] / "views.npz"),
        trajectories=Trajectories.load(folders["trajectories"] / "own.npz"),
        geometry=validator.geometry,
        index=validator.index,
        k=visible_depth(params.retrieval.depth(len(catalog)), len(catalog), int(labelled.sum())),
        validator=validator,
        sampler=params.sampler,
        seeds=params.build_trajectories.seeds,
        full_share=params.finetune.full_share,
    )


class RoundCases(NamedTuple):
    """Training cases of a round: trajectories with the seeds that a caller might bring.

    Attributes:
        trajectories: catalogue rows int32 [n, L].
        seeds: catalogue rows int32 [n, m], padded with -1.
        views: the view of each trajectory's pattern int32 [n].
        patterns: the pattern in that view int32 [n].
    """

    trajectories: np.ndarray
    seeds: np.ndarray
    views: np.ndarray
    patterns: np.ndarray


class LabelledPool(NamedTuple):
    """Candidates of each case; number 0 is what the policy serves today.

    Attributes:
        candidates: unit [n, p, d].
        labels: Joint and Same of each [n, p].
    """

    candidates: np.ndarray
    labels: Labels


def run_round(
    policy: MODiT,
    reference: MODiT,
    context: RoundContext,
    params: HPPOParams,
    guidance: float,
    number: int,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
) -> tuple[MODiT, dict[str, float]]:
    """Runs round `number` on `policy` in place; nothing is validated.

    Args:
        policy: the generator after the round before.
        reference: the frozen SFT model.
        context: what the round works on.
        params: section `hppo`.
        guidance: the policy's serving scale.
        number: of the round, from 1.
        seed: of the chain; every round has streams of its own.
        log: of the training loop.
        checkpoint: file that the training loop resumes from.

    Returns:
        The policy and `round_facts`.
    """
    cases_seed = derived_seed(seed, "cases", number)
    cases = draw_cases(context.trajectories, context.seeds, params.cases, context.full_share, cases_seed)
    source = reference if params.variant == "off_policy" else policy
    pool = label_round(source, context, cases, params, guidance, derived_seed(seed, "candidates", number))
    # In a team the first process's pairs count: the search of another machine may break a tie in another way.
    pairs = from_first(choose_pairs(pool.labels, params))
    if len(pairs.case):
        data = pair_data(context, cases, pool, pairs, params)
        stage = PreferenceStage(f"hppo_{number}", data, reference, params, Geometry.of(context.geometry))
        policy = train(policy, stage, round_optimizer(params), seed, log, checkpoint)
    return policy, round_facts(pool.labels, pairs)


def draw_cases(trajectories: Trajectories, seeds: int, count: int, full_share: float, seed: int) -> RoundCases:
    """Draws training cases: trajectories, with subsets of their first `seeds` items as seed sets.

    Args:
        trajectories: to draw from, without replacement.
        seeds: m.
        count: n, all trajectories where there are fewer.
        full_share: share of the cases that keep all m seeds.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(trajectories), min(count, len(trajectories)), replace=False)
    items = trajectories.items[chosen]
    rows = subset_rows(items[:, :seeds], full_share, generator)
    return RoundCases(items, rows, trajectories.views[chosen], trajectories.patterns[chosen])


def label_round(
    policy: MODiT, context: RoundContext, cases: RoundCases, params: HPPOParams, guidance: float, seed: int
) -> LabelledPool:
    """Builds the pool of every case and measures it on the index.

    Args:
        policy: the generator of the policy candidates.
        context: what the round works on.
        cases: n training cases.
        params: section `hppo`.
        guidance: the policy's serving scale.
        seed: of the sampler's noise.
    """
    sampler = Sampler(policy, Geometry.of(context.geometry), context.sampler.steps, context.sampler.samples)
    embeddings = torch.from_numpy(np.ascontiguousarray(context.embeddings))
    rows, block = torch.from_numpy(cases.seeds).long(), at_once(CASES_AT_ONCE)
    queries = generate_queries(sampler, embeddings, rows, (*params.fan, guidance), seed, block).numpy()
    tail = cases.trajectories.shape[1] - cases.seeds.shape[1]
    static = static_candidates(context.embeddings, cases.trajectories, tail, params.static_depths)
    directions = step_directions(Geometry.of(context.geometry)).numpy()
    pool = build_pool(static, queries[:, :-1], queries[:, -1], case_blends(context, cases), directions, params)
    labels = label_candidates(
        context.index,
        pool,
        cases.seeds,
        context.positive,
        context.views.labels,
        cases.views,
        cases.patterns,
        context.labelled,
        context.k,
    )
    return LabelledPool(pool, labels)


def case_blends(context: RoundContext, cases: RoundCases) -> np.ndarray:
    """The blends of each case's seeds, unit [n, 6, d]."""
    rows = torch.from_numpy(cases.seeds).long()
    seeds = torch.from_numpy(np.asarray(context.embeddings))[rows.clamp_min(0)]
    return blends_of_seeds(seeds, rows >= 0, Geometry.of(context.geometry)).numpy()


def choose_pairs(labels: Labels, params: HPPOParams) -> Pairs:
    """Pairs by the section's gate, margin and filter, on labels shrunk to their kind."""
    joint, same = (shrink_to_kind(values, params.case_weight) for values in labels)
    served = 0 if params.gate == "served" else None
    return build_pairs(joint, same, params.margin, filter_tolerance(params), served)


def filter_tolerance(params: HPPOParams) -> float | None:
    """Epsilon of the variant: None for off_policy and adaptive, 0 for pareto, `tolerance` for pareto_epsilon."""
    return {"off_policy": None, "adaptive": None, "pareto": 0.0, "pareto_epsilon": params.tolerance}[params.variant]


def pair_data(
    context: RoundContext, cases: RoundCases, pool: LabelledPool, pairs: Pairs, params: HPPOParams
) -> PairData:
    """Pairs as tensors; the target of the anchor is the SFT target or the winner."""
    tail = cases.trajectories[:, cases.seeds.shape[1] :]
    anchors = None if params.anchor == "winner" else mean_of_rows(context.embeddings, tail)[pairs.case]
    rows = torch.from_numpy(cases.seeds).long()
    return PairData(
        seeds=torch.from_numpy(np.asarray(context.embeddings))[rows.clamp_min(0)],
        lengths=(rows >= 0).sum(1),
        case=torch.from_numpy(pairs.case),
        winners=torch.from_numpy(pool.candidates[pairs.case, pairs.winner]),
        losers=torch.from_numpy(pool.candidates[pairs.case, pairs.loser]),
        anchors=None if anchors is None else torch.from_numpy(anchors),
    )


def round_facts(labels: Labels, pairs: Pairs) -> dict[str, float]:
    """What a round saw: pairs, share of cases with any, measured Joint, share of pairs whose winner is not served."""
    return {
        "pairs": len(pairs.case),
        "cases_kept": len(np.unique(pairs.case)) / len(labels.joint),
        "best_joint": float(labels.joint.max(1).mean()),
        "served_joint": float(labels.joint[:, 0].mean()),
        "moved": float((pairs.winner > 0).mean()) if len(pairs.case) else 0.0,
    }


def round_optimizer(params: HPPOParams) -> OptimizerParams:
    """Settings of a round's training: a short warm-up, then down to nearly nothing."""
    return OptimizerParams(
        steps=params.steps,
        batch=params.batch,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        warmup=0.1,
        sharding=params.sharding,
        final_ratio=0.02,
    )
