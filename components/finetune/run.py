"""Stage 2: the domain's model learns to say the centroid of the dense tail (SFT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.metric.geometry import DomainGeometry
from modit.metric.trajectories import Trajectories
from modit.model.axes import Geometry
from modit.model.storage import load_model
from modit.train.session import run_stage
from modit.train.stages import TargetPrediction, tail_centroids

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> None:
    """Reads `catalog`, `trajectories`, `predictor`, `continued`; writes `finetuned`: model.pt and curve.json."""
    catalog = Catalog.load(context.input("catalog"))
    items = Trajectories.load(context.input("trajectories") / "own.npz").items
    geometry = DomainGeometry.load(context.input("predictor") / "geometry.npz")
    sizes, params = context.params.build_trajectories, context.params.finetune
    seed = derived_seed(context.seed, "finetune", context.domain)
    stage = TargetPrediction(
        "finetune",
        catalog.embeddings,
        items[:, : sizes.seeds],
        tail_centroids(catalog.embeddings, items, sizes.length - sizes.seeds),
        params,
        Geometry.of(geometry),
    )
    model = load_model(context.input("continued") / "model.pt")
    run_stage(model, stage, params, seed, context.output("finetuned"), context.scratch, context.logger)
