"""The stop rule: true Joint@K on validation items and patterns, never on test cases (specification section 6)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from modit.core.context import DeclaredParams
from modit.core.memory import at_once
from modit.core.seeds import derived_seed, stream
from modit.data.catalog import Catalog
from modit.data.splits import VALIDATIONS, ResultScope, Split
from modit.index.engines.staging import load_searched
from modit.index.searchable import SearchableIndex
from modit.metric.cases import Cases, build_cases
from modit.metric.evidence import KnownVerdicts
from modit.metric.list_metrics import ListMetrics, list_metrics, visible_depth
from modit.metric.patterns import Patterns
from modit.metric.predictor import DomainGeometry, fit_on_verdicts
from modit.metric.trajectories import density_ranks
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.sampler import CASES_AT_ONCE, Sampler, generate_queries
from modit.training.params import SamplerParams

_NOISE_SEED = 0


@dataclass(frozen=True)
class ValidationScore:
    """Means over the validation cases, in [0, 1].

    Attributes:
        item_joint: Joint@K on unseen items of seen patterns.
        item_same: Same@K there.
        pattern_joint: Joint@K on unseen patterns.
        pattern_same: Same@K there.
        guidance: the scale at which all this was measured, the best of those allowed.
    """

    item_joint: float
    item_same: float
    pattern_joint: float
    pattern_same: float
    guidance: float

    @property
    def joint(self) -> float:
        """Both kinds weigh the same: a model that memorises its patterns gains on items and loses on patterns."""
        return (self.item_joint + self.pattern_joint) / 2

    def as_dict(self) -> dict[str, float]:
        """For JSON, with the mean."""
        return {name: round(value, 6) for name, value in {**asdict(self), "joint": self.joint}.items()}


@dataclass(frozen=True)
class Validator:
    """Scores a model on a domain's validation cases.

    Attributes:
        embeddings: unit [N, d].
        positive: bool [N].
        patterns: of the domain.
        visible: items that may be results, bool [N]: scored ones whose role is validation.
        cases: seeds int32 [n, m] and pattern [n] of both validation splits.
        geometry: of the domain.
        index: the staged index.
        sampler: how queries are drawn.
        k: results judged.
        known: items whose verdict may be evidence, bool [N]: scored ones that training sees.
    """

    embeddings: np.ndarray
    positive: np.ndarray
    patterns: Patterns
    visible: np.ndarray
    cases: dict[str, tuple[np.ndarray, np.ndarray]]
    geometry: DomainGeometry
    index: SearchableIndex
    sampler: SamplerParams
    k: int
    known: np.ndarray

    @property
    def verdicts(self) -> KnownVerdicts:
        """The evidence."""
        return KnownVerdicts(self.embeddings, self.positive, self.known)

    def score(self, model: MODiT) -> ValidationScore:
        """Retrieves for every validation case at every scale, and takes the best scale by mean Joint of both kinds."""
        item, pattern = self._means(model, Split.ITEM_VALIDATION), self._means(model, Split.PATTERN_VALIDATION)
        best = int((item[:, 0] + pattern[:, 0]).argmax())
        (item_joint, item_same), (pattern_joint, pattern_same) = item[best].tolist(), pattern[best].tolist()
        return ValidationScore(item_joint, item_same, pattern_joint, pattern_same, self.sampler.guidance[best])

    def seeds(self, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        """The seeds of a split's cases [n, m, d], and where they are, bool [n, m]."""
        rows = torch.from_numpy(self.cases[split][0]).long()
        return torch.from_numpy(np.asarray(self.embeddings))[rows.clamp_min(0)], rows >= 0

    def queries(self, model: MODiT, split: Split, guidance: Sequence[float]) -> torch.Tensor:
        """A model's queries for a split's cases at several guidance scales, unit [n, G, d]."""
        sampler = Sampler(model, Geometry.of(self.geometry), self.sampler.steps, self.sampler.samples)
        embeddings = torch.from_numpy(np.asarray(self.embeddings))
        rows, block = torch.from_numpy(self.cases[split][0]).long(), at_once(CASES_AT_ONCE)
        return generate_queries(sampler, embeddings, rows, guidance, _NOISE_SEED, block)

    def judge(self, split: Split, queries: np.ndarray) -> ListMetrics:
        """Searches with a unit query for each case of a split [n, d] and judges the lists."""
        seeds, patterns = self.cases[split]
        found = self.index.search(queries, self.k, allowed=self.visible, exclude=seeds).rows
        return list_metrics(found, self.positive, self.patterns.labels, patterns)

    def _means(self, model: MODiT, split: Split) -> np.ndarray:
        """Mean Joint and Same for each guidance scale [G, 2]; zeros where the split has no cases."""
        scales = self.sampler.guidance
        means = np.zeros((len(scales), 2))
        if not len(self.cases[split][0]):
            return means
        queries = self.queries(model, split, scales).numpy()
        for number in range(len(scales)):
            metrics = self.judge(split, queries[:, number])
            means[number] = metrics.joint.mean(), metrics.same.mean()
        return means


class Blend(NamedTuple):
    """Weights on the line between two models (Wortsman et al. 2022, arXiv 2109.01903).

    A stage that goes too far on one kind of case is often right in direction: weights in between keep what both kinds
    agree on.

    Attributes:
        share: 0 is the model before a stage, 1 the model after it.
        model: the weights there.
        score: of them.
    """

    share: float
    model: MODiT
    score: ValidationScore

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the weights."""
        return {"share": self.share, **self.score.as_dict()}


def score_blends(before: MODiT, after: MODiT, shares: Sequence[float], validator: Validator) -> list[Blend]:
    """Scores the weights at every share of the way between two models.

    Args:
        before: the model before a stage.
        after: the model after it.
        shares: in [0, 1]; the order is kept.
        validator: of the domain.
    """
    blends = [(share, interpolate(before, after, share)) for share in shares]
    return [Blend(share, model, validator.score(model)) for share, model in blends]


def interpolate(before: MODiT, after: MODiT, share: float) -> MODiT:
    """Gives a model with the weights (1 - share) before + share after."""
    blend = copy.deepcopy(after)
    old = before.state_dict()
    blend.load_state_dict({name: old[name] + share * (value - old[name]) for name, value in after.state_dict().items()})
    return blend


def load_validator(folders: Mapping[str, Path], domain: str, params: DeclaredParams) -> Validator:
    """Reads the validation cases of a domain and all that scoring a model on them needs.

    Args:
        folders: of `catalog`, `patterns`, `predictor`, `cases` and `index`.
        domain: which one.
        params: of the run.
    """
    catalog = Catalog.load(folders["catalog"])
    patterns = Patterns.load(folders["patterns"] / f"{domain}.npz")
    stored = {split: Cases.load(folders["cases"] / f"{split}.npz") for split in VALIDATIONS}
    visible = patterns.may_be_results(Split.ITEM_VALIDATION, ResultScope.DISCOVERY) & catalog.scored(domain)
    return Validator(
        embeddings=catalog.embeddings,
        positive=catalog.positive(domain),
        patterns=patterns,
        visible=visible,
        cases={split: (cases.seeds, cases.patterns) for split, cases in stored.items()},
        geometry=DomainGeometry.load(folders["predictor"] / "geometry.npz"),
        index=load_searched(folders["index"]),
        sampler=params.sampler,
        k=visible_depth(params.retrieval.depth(len(catalog)), len(catalog), int(visible.sum())),
        known=patterns.trainable & catalog.scored(domain),
    )


def fold_validators(
    catalog: Catalog,
    patterns: Patterns,
    domain: str,
    index: SearchableIndex,
    params: DeclaredParams,
    count: int,
    cases: int,
    seed: int,
) -> list[Validator]:
    """Validators on what training sees, each with a part of it held out (docs/adr/0046).

    Density and attribute are fitted on the rest, which is the evidence. Only what has learnt from none of the held-out
    verdicts can be judged on them: moves can, a trained network cannot.

    Args:
        catalog: items and verdicts.
        patterns: of the domain.
        domain: which one.
        index: over all items.
        params: of the run: sections `retrieval`, `sampler` and `build_trajectories`.
        count: folds.
        cases: of each kind of validation in each fold.
        seed: of folds, cases and fits.
    """
    positive, scored, depth = catalog.positive(domain), catalog.scored(domain), params.retrieval.depth(len(catalog))
    found = []
    for number, fold in enumerate(patterns.training_folds(count, stream(seed, "folds"))):
        known = fold.trainable & scored
        verdicts = KnownVerdicts(catalog.embeddings, positive, known)
        predictor, geometry = fit_on_verdicts(verdicts, index, depth, derived_seed(seed, "fold", number))
        ranks = density_ranks(predictor.predict(catalog.embeddings), catalog.item_ids)
        drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for split in VALIDATIONS:
            generator = stream(seed, "fold-cases", number, split)
            own, _ = build_cases(fold, positive, scored, ranks, split, cases, params.build_trajectories, generator)
            drawn[split] = (own.seeds, own.patterns)
        visible = fold.may_be_results(Split.ITEM_VALIDATION, ResultScope.DISCOVERY) & scored
        k = visible_depth(depth, len(catalog), int(visible.sum()))
        found.append(
            Validator(catalog.embeddings, positive, fold, visible, drawn, geometry, index, params.sampler, k, known)
        )
    return found
