"""Stage 0: the shared model learns to continue raw sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.errors import InsufficientDataError
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.metric.patterns import Patterns, shared_items
from modit.model.axes import Geometry
from modit.train.session import new_model, run_stage
from modit.train.stages import PrefixPrediction, sequence_windows

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> None:
    """Reads `catalog`, `patterns`; writes `pretrained`: model.pt and curve.json."""
    catalog = Catalog.load(context.input("catalog"))
    patterns = [Patterns.load(path) for path in sorted(context.input("patterns").glob("*.npz"))]
    windows = sequence_windows(catalog.sequences, shared_items(patterns), context.params.build_trajectories.length)
    if not len(windows):
        raise InsufficientDataError("interactions: no sequence keeps 4 items once the held-out items are taken out")
    params, seed = context.params.pretrain, derived_seed(context.seed, "pretrain")
    stage = PrefixPrediction("pretrain", catalog.embeddings, windows, params, [Geometry.blank(catalog.dimension)])
    model = new_model(catalog.dimension, context.params.model, seed)
    run_stage(model, stage, params, seed, context.output("pretrained"), context.scratch, context.logger)
