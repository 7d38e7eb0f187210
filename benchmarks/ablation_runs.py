"""Training and judging of the arms of an ablation, on the artifacts of a finished run."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from modit.core.params import Section
from modit.data.splits import HOLDOUTS, VALIDATIONS, Split
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.task import SeedsTask, first_cases_of
from modit.hppo.round import RoundContext, load_context, run_round
from modit.metric.patterns import Patterns, shared_items
from modit.metric.trajectories import Order
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.sampler import Sampler, generate_queries
from modit.params import Params
from modit.training.checkpoint import load_model
from modit.training.loop import Stage, train
from modit.training.params import OptimizerParams
from modit.training.session import new_model
from modit.training.stages import PrefixPrediction, TargetPrediction, sequence_windows, tail_centroids

_NOISE_SEED = 0
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Recipe:
    """How a domain's SFT model is made.

    Attributes:
        order: of the training sequences by predicted density.
        tail: items in the SFT target; None for the whole tail, 1 for the item of highest density.
        pretrain: whether the model starts from fresh weights, with its own stage 0, or from the run's pretrained model.
        model: changes to section `model`; they need `pretrain`.
        rotate: chance of a random rotation in every stage.
    """

    order: Order = "ascending"
    tail: int | None = None
    pretrain: bool = False
    model: tuple[tuple[str, Any], ...] = ()
    rotate: float = 1.0


@dataclass(frozen=True)
class Chain:
    """HPPO rounds on the run's SFT model, without the stop rule: what the objective does, not what validation forgives.

    Attributes:
        rounds: how many.
        steps: optimiser steps of each.
        changes: to section `hppo`.
    """

    rounds: int
    steps: int
    changes: Mapping[str, Any] = field(default_factory=dict)


class Budget(NamedTuple):
    """Sizes that keep an arm short.

    Attributes:
        steps: optimiser steps of each supervised stage.
        cases: of each split.
        label_cases: training cases labelled in an HPPO round.
    """

    steps: int
    cases: int
    label_cases: int


class Scores(NamedTuple):
    """Joint@K and Same@K of each case [n, 2] for each split, at the scale that is best on validation."""

    values: dict[str, np.ndarray]
    guidance: float


class Silence:
    """A training log that keeps nothing."""

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        """Drops the figures."""

    def rewind(self, step: int) -> None:
        """Nothing to forget."""


class AblationRun:
    """One domain of a finished run: trains arms on its artifacts and judges them on its cases."""

    def __init__(self, folder: Path, domain: str, params: Params, budget: Budget, seed: int) -> None:
        """Args: the run's folder, the domain, the run's parameters, sizes of an arm, and the seed of all training."""
        per_domain = ("predictor", "trajectories", "cases")
        folders = {name: folder / name / domain for name in per_domain}
        folders |= {name: folder / name for name in ("catalog", "patterns", "index")}
        self.folder, self.domain, self.params, self.budget, self.seed = folder, domain, params, budget, seed
        self.context: RoundContext = load_context(folders, domain, params)
        judged = EvaluationContext.load(folders, domain, params.retrieval)
        cases = {split: first_cases_of(judged.cases[split], budget.cases) for split in Split}
        self.evaluation = dataclasses.replace(judged, cases=cases)

    def supervised(self, recipe: Recipe) -> MODiT:
        """Trains stage 1 and stage 2 (and stage 0 where the recipe asks) of the domain's own trajectories."""
        geometry = self.geometry(recipe.order)
        items = reordered(self.context.trajectories.items, recipe.order, self.seed)
        seeds = self.params.build_trajectories.seeds
        depth = items.shape[1] - seeds if recipe.tail is None else recipe.tail
        embeddings = self.evaluation.catalog.embeddings
        model = self._pretrained(recipe)
        options = self._options("continue_pretrain", recipe)
        self._train(model, PrefixPrediction("cpt", embeddings, items, options, [geometry]), options)
        options = self._options("finetune", recipe)
        targets = tail_centroids(embeddings, items, depth)
        self._train(model, TargetPrediction("sft", embeddings, items[:, :seeds], targets, options, geometry), options)
        return model

    def chain(self, chain: Chain) -> MODiT:
        """Runs HPPO rounds from the run's SFT model."""
        reference = load_model(self.folder / "finetuned" / self.domain / "model.pt")
        changes = {"steps": chain.steps, "cases": self.budget.label_cases, **chain.changes}
        section = changed(self.params.hppo, changes)
        policy, guidance = copy.deepcopy(reference), self.context.validator.score(reference).guidance
        for number in range(1, chain.rounds + 1):
            policy, _ = run_round(policy, reference, self.context, section, guidance, number, self.seed, Silence())
        return policy

    def finetuned(self) -> MODiT:
        """The run's SFT model, where every chain starts."""
        return load_model(self.folder / "finetuned" / self.domain / "model.pt")

    def judge(self, model: MODiT, order: Order = "ascending") -> Scores:
        """Judges a model on all splits at the scale that is best on validation.

        Args:
            model: the velocity field.
            order: in which the model was trained to read seeds; random is served in ascending order.
        """
        scales = self.params.sampler.guidance
        sampler = Sampler(model, self.geometry(order), self.params.sampler.steps, self.params.sampler.samples)
        validation = {
            split: [self._judged(split, queries) for queries in self._queries(sampler, split, scales)]
            for split in VALIDATIONS
        }
        joint = np.array([[scores[:, 0].mean() for scores in values] for values in validation.values()])
        best = int(joint.mean(0).argmax())
        scores = {split: values[best] for split, values in validation.items()}
        for split in HOLDOUTS:
            (queries,) = self._queries(sampler, split, (scales[best],))
            scores[split] = self._judged(split, queries)
        return Scores(scores, scales[best])

    def geometry(self, order: Order) -> Geometry:
        """Of the domain, its density direction turned round for a model that reads from high to low density."""
        geometry = Geometry.of(self.context.geometry)
        return geometry._replace(density=-geometry.density) if order == "descending" else geometry

    def _pretrained(self, recipe: Recipe) -> MODiT:
        if not recipe.pretrain:
            return load_model(self.folder / "pretrained" / "model.pt")
        section = changed(self.params.model, dict(recipe.model))
        catalog = self.evaluation.catalog
        model = new_model(catalog.dimension, section, self.seed)
        patterns = [Patterns.load(path) for path in sorted((self.folder / "patterns").glob("*.npz"))]
        length = self.params.build_trajectories.length
        windows = sequence_windows(catalog.sequences, shared_items(patterns), length)
        options, unordered = self._options("pretrain", recipe), Geometry.blank(catalog.dimension)
        self._train(
            model,
            PrefixPrediction("pretrain", catalog.embeddings, windows, options, [unordered]),
            options,
        )
        return model

    def _options(self, section: str, recipe: Recipe) -> OptimizerParams:
        return changed(getattr(self.params, section), {"steps": self.budget.steps, "rotate": recipe.rotate})

    def _train(self, model: MODiT, stage: Stage, options: OptimizerParams) -> None:
        train(model, stage, options, self.seed, Silence())

    def _queries(self, sampler: Sampler, split: str, scales: tuple[float, ...]) -> list[np.ndarray]:
        seeds = torch.from_numpy(self.evaluation.cases[split].seeds).long()
        embeddings = torch.from_numpy(np.asarray(self.evaluation.catalog.embeddings))
        queries = generate_queries(sampler, embeddings, seeds, scales, _NOISE_SEED).numpy()
        return [queries[:, number] for number in range(len(scales))]

    def _judged(self, split: Split, queries: np.ndarray) -> np.ndarray:
        task = SeedsTask(self.evaluation)
        scores = task.judge_queries(task.cases(split), queries)
        return np.stack([scores["joint"], scores["same"]], 1)


def changed(section: SectionT, changes: Mapping[str, Any]) -> SectionT:
    """A section with changes, checked like params.yaml."""
    return type(section).model_validate(section.model_dump() | dict(changes))


def reordered(items: np.ndarray, order: Order, seed: int) -> np.ndarray:
    """The same groups in another order: ascending sequences [S, L] reversed, or each shuffled."""
    if order == "ascending":
        return items
    if order == "descending":
        return np.ascontiguousarray(items[:, ::-1])
    return np.random.default_rng(seed).permuted(items, axis=1)
