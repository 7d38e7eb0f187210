"""Small stages of each kind, over random unit vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modit.data.vectors import unit
from modit.hppo.params import HPPOParams
from modit.hppo.preferences import PairData, PreferenceStage
from modit.metric.predictor import fit_geometry
from modit.model.axes import Geometry
from modit.model.dit import DiTConfig, MODiT
from modit.training.params import OptimizerParams
from modit.training.stages import PrefixPrediction, TargetPrediction, tail_centroids

ITEMS, DIMENSION, LENGTH = 60, 10, 8


def small_model(**config) -> MODiT:
    torch.manual_seed(0)
    return MODiT(DiTConfig(**{"dimension": DIMENSION, "width": 16, "depth": 1, "heads": 2, "copy_heads": 2} | config))


def settings(**values) -> OptimizerParams:
    return OptimizerParams(**{"steps": 12, "batch": 8, "log_every": 1, "checkpoint_every": 5, "warmup": 0.2} | values)


class World:
    """Embeddings [N, d], ordered sequences [S, L] and the geometry of a domain whose attribute falls at random."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.embeddings = unit(rng.standard_normal((ITEMS, DIMENSION)))
        self.sequences = np.stack([rng.choice(ITEMS, LENGTH, replace=False) for _ in range(30)]).astype(np.int32)
        direction, positive = rng.standard_normal(DIMENSION), rng.random(ITEMS) < 0.3
        geometry = fit_geometry(self.embeddings, positive, np.ones(ITEMS, bool), direction, seed=0)
        self.geometry = Geometry.of(geometry)

    def prefix(self, params: OptimizerParams) -> PrefixPrediction:
        return PrefixPrediction("pretrain", self.embeddings, self.sequences, params, [self.geometry])

    def target(self, params: OptimizerParams) -> TargetPrediction:
        targets = tail_centroids(self.embeddings, self.sequences, 2)
        return TargetPrediction("finetune", self.embeddings, self.sequences[:, :6], targets, params, self.geometry)

    def preference(self, reference: MODiT, params: HPPOParams) -> PreferenceStage:
        items = torch.from_numpy(self.embeddings)
        data = PairData(items[self.sequences[:5, :6]], torch.full((5,), 6), torch.arange(5), *items[:15].split(5))
        return PreferenceStage("hppo_1", data, reference, params, self.geometry)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def model_of():
    return small_model


@pytest.fixture
def params_of():
    return settings
