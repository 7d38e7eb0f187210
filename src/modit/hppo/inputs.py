"""What a round works on and what validation needs, read from artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from modit.core.params import Params
from modit.core.sections.model import SamplerParams
from modit.data.catalog import Catalog
from modit.hppo.round import World
from modit.hppo.validation import Validator
from modit.index import ItemIndex
from modit.metric.cases import Cases
from modit.metric.geometry import DomainGeometry
from modit.metric.patterns import Patterns, PatternViews
from modit.metric.retrieval import visible_depth
from modit.metric.trajectories import Trajectories

ARTIFACTS = ("catalog", "patterns", "predictor", "trajectories", "cases", "index")


class RoundInputs(NamedTuple):
    """Everything but the models and section `hppo`.

    Attributes:
        world: what the round may learn from.
        trajectories: the domain's own.
        validator: the stop rule.
        sampler: how queries are drawn.
        seeds: m, items at the head of a trajectory that seeds are drawn from.
        full_share: share of the training cases that keep all m.
    """

    world: World
    trajectories: Trajectories
    validator: Validator
    sampler: SamplerParams
    seeds: int
    full_share: float


def load_inputs(folders: dict[str, Path], domain: str, params: Params) -> RoundInputs:
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
    world = World(catalog.embeddings, validator.positive, trainable, views, validator.geometry, validator.index, k)
    trajectories = Trajectories.load(folders["trajectories"] / "own.npz")
    seeds, full_share = params.build_trajectories.seeds, params.finetune.full_share
    return RoundInputs(world, trajectories, validator, params.sampler, seeds, full_share)


def load_validator(folders: dict[str, Path], domain: str, params: Params) -> Validator:
    """The validation cases of a domain and what it takes to score a model on them.

    Args:
        folders: of `catalog`, `patterns`, `predictor`, `cases` and `index`.
        domain: which one.
        params: of the run.
    """
    catalog = Catalog.load(folders["catalog"])
    patterns = Patterns.load(folders["patterns"] / f"{domain}.npz")
    stored = {
        split: Cases.load(folders["cases"] / f"{split}.npz") for split in ("item_validation", "pattern_validation")
    }
    visible = int(patterns.visible_for_validation.sum())
    return Validator(
        embeddings=catalog.embeddings,
        positive=catalog.positive(domain),
        patterns=patterns,
        cases={split: (cases.seeds, cases.patterns) for split, cases in stored.items()},
        geometry=DomainGeometry.load(folders["predictor"] / "geometry.npz"),
        index=ItemIndex.load(folders["index"]),
        sampler=params.sampler,
        k=visible_depth(params.retrieval.depth(len(catalog)), len(catalog), visible),
    )
