"""A small world whose answer is known: patterns around random centres, a rare attribute along one shared direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from modit.data.catalog import Catalog, Sequences
from modit.data.splits import TEST, TRAIN, VALIDATION, Split
from modit.data.vectors import nearest_centroid, unit
from modit.evaluate import names
from modit.evaluate.evaluation import EvaluationSettings
from modit.evaluate.seeds.both_scopes import evaluate_domain
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator
from modit.evaluate.seeds.rows import generator_row
from modit.evaluate.seeds.second_stage import served_row
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.storage import Evaluation
from modit.evaluate.task import BaselineModel, Row
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.retrieval import Query
from modit.metric.attribute_model import fit_attribute_odds
from modit.metric.cases import build_cases
from modit.metric.params import SequenceParams
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor, fit_geometry
from modit.metric.second_stage import SecondStage
from modit.model.axes import Geometry
from modit.model.dit import DiTConfig, MODiT
from modit.model.sampler import Sampler

PATTERNS, MEMBERS, DIMENSION = 10, 120, 12


@dataclass(frozen=True)
class Items:
    """Embeddings [N, d], the verdicts bool [N], the direction of the attribute [d] and the centres [C, d]."""

    embeddings: np.ndarray
    positive: np.ndarray
    direction: np.ndarray
    centres: np.ndarray


def build_items(seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    direction = unit(rng.standard_normal(DIMENSION))
    centres = rng.standard_normal((PATTERNS, DIMENSION))
    centres = unit(centres - np.outer(centres @ direction, direction))
    offsets = 0.12 * rng.standard_normal((PATTERNS, MEMBERS, DIMENSION))
    embeddings = unit((centres[:, None] + offsets).reshape(-1, DIMENSION))
    score = embeddings @ direction + 0.05 * rng.standard_normal(len(embeddings))
    return Items(embeddings, score > np.quantile(score, 0.65), direction, centres)


def build_context(titles: bool = True) -> EvaluationContext:
    items = build_items()
    count = len(items.embeddings)
    pattern_split = np.array([TEST, TEST, VALIDATION, VALIDATION] + [TRAIN] * (PATTERNS - 4), np.int8)
    item_split = np.random.default_rng(1).choice([TRAIN, VALIDATION, TEST], count, p=[0.4, 0.3, 0.3]).astype(np.int8)
    labels = nearest_centroid(items.embeddings, items.centres)
    patterns = Patterns(items.centres, labels, pattern_split, item_split)
    predictor = DensityPredictor(items.direction, 0.0, 1.0)
    geometry = fit_geometry(items.embeddings, items.positive, patterns.trainable, items.direction, seed=0)
    params = SequenceParams(length=12, seeds=8, minimum_case_seeds=4)
    density = predictor.predict(items.embeddings)
    rng = np.random.default_rng(2)
    scored = np.ones(count, bool)
    cases = {
        split: build_cases(patterns, items.positive, scored, density, split, 24, params, rng)[0] for split in Split
    }
    ids = np.array([f"item-{row}" for row in range(count)])
    names = np.array([f"Title <{row}> & more" for row in range(count)]) if titles else None
    empty = Sequences(np.zeros(1, np.int64), np.zeros(0, np.int32))
    catalog = Catalog(ids, items.embeddings, {"rare": items.positive.astype(np.int8)}, names, empty)
    index = ItemIndex.build(items.embeddings, ids, IndexParams(kind="flat", threads=1))
    return EvaluationContext(catalog, "rare", patterns, predictor, geometry, index, cases, k=20)


def build_generator(context: EvaluationContext, seed: int) -> Generator:
    torch.manual_seed(seed)
    model = MODiT(DiTConfig(DIMENSION, width=16, depth=1, heads=2, copy_heads=2)).eval()
    # The velocity head starts at zero; untrained rows would all be equal.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    sampler = Sampler(model, Geometry.of(context.geometry), 2, 2).eval()
    return Generator(sampler, 2.0, context.index)


def build_stage(context: EvaluationContext, depth: int = 6, weight: float = 0.05, enabled: bool = True) -> SecondStage:
    """A second stage at a setting of the test's own."""
    validation = context.allowed(Split.ITEM_VALIDATION)
    odds = fit_attribute_odds(context.known_verdicts, validation, ("logistic",), 20, seed=0)
    reached = {"none": {"mean": 0.4}, "reranked": {"mean": 0.5}, "error": 0.02}
    facts = odds.facts() | {"validation": reached}
    return SecondStage(odds.log_odds, context.known_patterns, depth, weight, 15.0, enabled, facts)


MODELS = ("Pre. GR", "CPT only", "MO-DiT", "HPPO", "HPPO adaptive")
NOISE_SEED = 3


def evaluate(
    context: EvaluationContext,
    models: list[Row[Query]],
    champion: BaselineModel[Query] | None = None,
    resamples: int = 200,
    **sizes: int,
) -> Evaluation:
    """The whole evaluation of a domain."""
    task = SeedsTask(context, NOISE_SEED, **sizes)
    settings = EvaluationSettings(seed=NOISE_SEED, resamples=resamples)
    policy = next((row for row in models if row.name == names.POLICY), models[0])
    rows = [*models, served_row(policy, build_stage(context), context)]
    return evaluate_domain(task, rows, settings, champion)


@pytest.fixture(scope="session")
def context() -> EvaluationContext:
    return build_context()


@pytest.fixture(scope="session")
def task(context: EvaluationContext) -> SeedsTask:
    return SeedsTask(context, NOISE_SEED)


@pytest.fixture(scope="session")
def models(context: EvaluationContext) -> list[Row[Query]]:
    return [generator_row(name, build_generator(context, seed)) for seed, name in enumerate(MODELS)]
