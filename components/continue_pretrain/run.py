"""Stage 1: the shared model learns in-pattern trajectories of all domains, from low to high predicted density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.metric.predictor import DomainGeometry
from modit.metric.trajectories import Trajectories
from modit.model.axes import Geometry
from modit.training.checkpoint import load_model
from modit.training.session import run_stage
from modit.training.stages import PrefixPrediction

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> None:
    """Reads `catalog`, all `trajectories` and `predictor`s, `pretrained`; writes `continued`: model.pt, curve.json."""
    catalog = Catalog.load(context.input("catalog"))
    folders = context.inputs_by_domain("trajectories")
    parts = [Trajectories.load(folders[domain] / "shared.npz").items for domain in sorted(folders)]
    predictors = context.inputs_by_domain("predictor")
    geometries = [DomainGeometry.load(predictors[domain] / "geometry.npz") for domain in sorted(folders)]
    known = [Geometry.of(geometry) for geometry in geometries]
    kinds = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    params, seed = context.params.continue_pretrain, derived_seed(context.seed, "continue_pretrain")
    sequences = np.concatenate(parts)
    stage = PrefixPrediction("continue_pretrain", catalog.embeddings, sequences, params, known, kinds)
    model = load_model(context.input("pretrained") / "model.pt")
    run_stage(model, stage, params, seed, context.output("continued"), context.scratch, context.logger)
