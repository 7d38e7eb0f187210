"""One HPPO round: candidates from the current policy, labels from the real index, pairs, a short preference epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from modit.core.context import DeclaredParams
from modit.core.memory import at_once
from modit.data.catalog import Catalog
from modit.data.vectors import mean_of_rows, unit
from modit.hppo.candidates import Labels, SeedMeans, build_pool, label_candidates, local_candidates, static_candidates
from modit.hppo.params import HPPOParams
from modit.hppo.preferences import PairData, Pairs, PreferenceStage, build_pairs, shrink_to_kind
from modit.hppo.validation import Validator, load_validator
from modit.index.item_index import ItemIndex
from modit.metric.list_metrics import visible_depth
from modit.metric.patterns import PatternViews
from modit.metric.predictor import DomainGeometry
from modit.metric.trajectories import Trajectories
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.sampler import CASES_AT_ONCE, Sampler, generate_queries
from modit.train.distributed import from_first
from modit.train.loop import Log, train
from modit.train.params import OptimizerParams, SamplerParams
from modit.train.stages import subset_rows


@dataclass(frozen=True)
class RoundContext:
    """What a round may see of a domain: the staged index and training items.

    Attributes:
        embeddings: unit [N, d].
        positive: the scorer's verdict, bool [N].
        trainable: bool [N]; labels come from these items alone.
        views: the pseudo-patterns of the trajectories.
        geometry: of the domain.
        index: the staged index, pinned by digest.
        k: results judged for a query.
    """

    embeddings: np.ndarray
    positive: np.ndarray
    trainable: np.ndarray
    views: PatternViews
    geometry: DomainGeometry
    index: ItemIndex
    k: int


class RoundCases(NamedTuple):
    """Training cases of HPPO: trajectories with the seeds that a caller might bring.

    Attributes:
        trajectories: int32 [n, L].
        seeds: int32 [n, m], padded with -1.
        views: int32 [n].
        patterns: int32 [n].
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


def draw_cases(trajectories: Trajectories, seeds: int, count: int, full_share: float, seed: int) -> RoundCases:
    """Draws the training cases of a round: trajectories, with subsets of their first `seeds` items as seed sets."""
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(trajectories), min(count, len(trajectories)), replace=False)
    items = trajectories.items[chosen]
    rows = subset_rows(items[:, :seeds], full_share, generator)
    return RoundCases(items, rows, trajectories.views[chosen], trajectories.patterns[chosen])


def label_round(
    policy: MODiT,
    context: RoundContext,
    cases: RoundCases,
    params: HPPOParams,
    sampler: SamplerParams,
    guidance: float,
    seed: int,
) -> LabelledPool:
    """Builds the hybrid pool of every case and measures it on the index."""
    geometry = Geometry.of(context.geometry)
    generator_of = Sampler(policy, geometry, sampler.steps, sampler.samples)
    fan = (*params.fan, guidance)
    embeddings = torch.from_numpy(np.ascontiguousarray(context.embeddings))
    rows, block = torch.from_numpy(cases.seeds).long(), at_once(CASES_AT_ONCE)
    queries = generate_queries(generator_of, embeddings, rows, fan, seed, block).numpy()
    tail = cases.trajectories.shape[1] - cases.seeds.shape[1]
    static = static_candidates(context.embeddings, cases.trajectories, tail, params.static_depths)
    centroid = unit(np.asarray(context.embeddings)[context.positive & context.trainable].mean(0))
    means, directions = seed_means(context, cases), step_directions(context)
    pool = build_pool(static, queries[:, :-1], queries[:, -1], means, directions, centroid, params)
    labelled = LabelledPool(pool, _measure(context, cases, pool))
    return _search(context, cases, labelled, params, np.random.default_rng(seed + 1))


def _measure(context: RoundContext, cases: RoundCases, pool: np.ndarray) -> Labels:
    return label_candidates(
        context.index,
        pool,
        cases.seeds,
        context.positive,
        context.views.labels,
        cases.views,
        cases.patterns,
        context.trainable,
        context.k,
    )


def _search(
    context: RoundContext, cases: RoundCases, pool: LabelledPool, params: HPPOParams, generator: np.random.Generator
) -> LabelledPool:
    """Local search on the true metric: each round keeps the best move and halves the radius.

    Moves lie in the span of what the model can write. A winner outside of it would be luck that no policy can learn.
    """
    means = seed_means(context, cases)
    directions = np.broadcast_to(step_directions(context), (len(cases.seeds), *step_directions(context).shape))
    for step in range(params.search_rounds):
        best = take_best(pool)
        axes = np.concatenate([directions, np.stack(means, 1) - best[:, None]], 1)
        moves = local_candidates(best, axes, params.search_radius / 2**step, params.search_moves, generator)
        labels = _measure(context, cases, moves)
        merged = Labels(
            np.concatenate([pool.labels.joint, labels.joint], 1), np.concatenate([pool.labels.same, labels.same], 1)
        )
        pool = LabelledPool(np.concatenate([pool.candidates, moves], 1), merged)
    return pool


def step_directions(context: RoundContext) -> np.ndarray:
    """Predicted density, the attribute, and the middle of both, unit [3, d]."""
    density, attribute = context.geometry.density, context.geometry.attribute
    return np.stack([density, attribute, unit(density + attribute)])


def seed_means(context: RoundContext, cases: RoundCases) -> SeedMeans:
    """Of each case's seeds."""
    geometry = context.geometry
    best = best_scored(cases.seeds, np.asarray(context.embeddings) @ geometry.density, 1 / 3)
    mean = mean_of_rows(context.embeddings, cases.seeds)
    return SeedMeans(mean, mean_of_rows(context.embeddings, best), unit((mean - geometry.mean) @ geometry.whitening))


def best_scored(seeds: np.ndarray, density: np.ndarray, share: float) -> np.ndarray:
    """Keeps the `share` of each row's seeds with the highest predicted density; others become -1 [n, m]."""
    score = np.where(seeds >= 0, density[seeds], -np.inf)
    rank = (-score).argsort(1).argsort(1)
    kept = np.maximum(1, np.round(share * (seeds >= 0).sum(1))).astype(int)
    return np.where(rank < kept[:, None], seeds, -1)


def take_best(pool: LabelledPool) -> np.ndarray:
    """The candidate of highest Joint of each case, ties to the higher Same [n, d]."""
    best = (pool.labels.joint + 1e-3 * pool.labels.same).argmax(1)
    return pool.candidates[np.arange(len(best)), best]


def filter_tolerance(params: HPPOParams) -> float | None:
    """Epsilon of the variant: none for off_policy and adaptive, 0 for pareto, `tolerance` for pareto_epsilon."""
    return {"off_policy": None, "adaptive": None, "pareto": 0.0, "pareto_epsilon": params.tolerance}[params.variant]


def pair_data(
    context: RoundContext, cases: RoundCases, pool: LabelledPool, pairs: Pairs, params: HPPOParams
) -> PairData:
    """Pairs as tensors; the anchor is the SFT target or the winner."""
    tail = cases.trajectories[:, cases.seeds.shape[1] :]
    winners = pool.candidates[pairs.case, pairs.winner]
    anchors = None if params.anchor == "winner" else unit(context.embeddings[tail].mean(1))[pairs.case]
    rows = torch.from_numpy(cases.seeds).long()
    return PairData(
        seeds=torch.from_numpy(np.asarray(context.embeddings))[rows.clamp_min(0)],
        lengths=(rows >= 0).sum(1),
        case=torch.from_numpy(pairs.case),
        winners=torch.from_numpy(winners),
        losers=torch.from_numpy(pool.candidates[pairs.case, pairs.loser]),
        anchors=None if anchors is None else torch.from_numpy(anchors),
    )


def choose_pairs(labels: Labels, params: HPPOParams) -> Pairs:
    """Pairs by the section's gate, margin and filter, on labels shrunk to their kind."""
    joint, same = (shrink_to_kind(values, params.case_weight) for values in labels)
    served = 0 if params.gate == "served" else None
    return build_pairs(joint, same, params.margin, filter_tolerance(params), served)


def round_facts(labels: Labels, pairs: Pairs) -> dict[str, float]:
    """What a round saw: pairs, share of cases with any, measured Joint, share of pairs whose winner is not served."""
    return {
        "pairs": len(pairs.case),
        "cases_kept": len(np.unique(pairs.case)) / len(labels.joint),
        "best_joint": float(labels.joint.max(1).mean()),
        "served_joint": float(labels.joint[:, 0].mean()),
        "moved": float((pairs.winner > 0).mean()) if len(pairs.case) else 0.0,
    }


def run_round(
    policy: MODiT,
    reference: MODiT,
    context: RoundContext,
    cases: RoundCases,
    params: HPPOParams,
    sampler: SamplerParams,
    guidance: float,
    number: int,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
) -> tuple[MODiT, dict[str, float]]:
    """Runs round `number` on `policy` in place.

    Args:
        policy: the generator after the round before.
        reference: the frozen SFT model.
        context: what the round may see.
        cases: its training cases.
        params: section `hppo`.
        sampler: section `sampler`.
        guidance: the policy's serving scale.
        number: of the round, from 1.
        seed: of the run.
        log: of the training loop.
        checkpoint: where the training loop resumes from.

    Returns:
        The policy and `round_facts`.
    """
    source = reference if params.variant == "off_policy" else policy
    pool = label_round(source, context, cases, params, sampler, guidance, seed + number)
    # In a team the first process's pairs count: another machine's search may break a tie otherwise.
    pairs = from_first(choose_pairs(pool.labels, params))
    if len(pairs.case):
        data, geometry = pair_data(context, cases, pool, pairs, params), Geometry.of(context.geometry)
        stage = PreferenceStage(f"hppo_{number}", data, reference, params, geometry)
        policy = train(policy, stage, round_optimizer(params), seed, log, checkpoint)
    return policy, round_facts(pool.labels, pairs)


def round_optimizer(params: HPPOParams) -> OptimizerParams:
    """Settings of a round's training: a short warm-up, then down to nearly nothing."""
    return OptimizerParams(
        steps=params.steps,
        batch=params.batch,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        warmup=0.1,
        ema=params.ema,
        sharding=params.sharding,
        final_ratio=0.02,
    )


ARTIFACTS = ("catalog", "patterns", "predictor", "trajectories", "cases", "index")


class RoundInputs(NamedTuple):
    """Everything but the models and section `hppo`.

    Attributes:
        context: what the round may learn from.
        trajectories: the domain's own.
        validator: the stop rule.
        sampler: how queries are drawn.
        seeds: m, items at the head of a trajectory that seeds are drawn from.
        full_share: share of the training cases that keep all m.
    """

    context: RoundContext
    trajectories: Trajectories
    validator: Validator
    sampler: SamplerParams
    seeds: int
    full_share: float


def load_inputs(folders: dict[str, Path], domain: str, params: DeclaredParams) -> RoundInputs:
    """Reads the artifacts of a domain.

    Args:
        folders: of the `ARTIFACTS`.
        domain: which one.
        params: of the run.
    """
    validator = load_validator(folders, domain, params)
    catalog = Catalog.load(folders["catalog"])
    views = PatternViews.load(folders["trajectories"] / "views.npz")
    trainable = validator.patterns.trainable
    k = visible_depth(params.retrieval.depth(len(catalog)), len(catalog), int(trainable.sum()))
    context = RoundContext(
        catalog.embeddings, validator.positive, trainable, views, validator.geometry, validator.index, k
    )
    trajectories = Trajectories.load(folders["trajectories"] / "own.npz")
    seeds, full_share = params.build_trajectories.seeds, params.finetune.full_share
    return RoundInputs(context, trajectories, validator, params.sampler, seeds, full_share)
