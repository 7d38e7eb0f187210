"""Stage 0: the shared model learns to continue sequences: raw ones, or sets of a pattern where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modit.core.errors import InsufficientDataError
from modit.core.seeds import derived_seed, stream
from modit.data.catalog import Catalog
from modit.metric.patterns import Patterns, shared_items
from modit.metric.trajectories import pattern_sequences
from modit.model.axes import Geometry
from modit.training.session import new_model, run_stage
from modit.training.stages import PrefixPrediction, sequence_windows

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns`; writes `pretrained`: model.pt and curve.json.

    Returns:
        `sequences_from`, "interactions" or "patterns", and how many `sequences` there are.
    """
    catalog = Catalog.load(context.input("catalog"))
    source, sequences = _sequences(context, catalog)
    params, seed = context.params.pretrain, derived_seed(context.seed, "pretrain")
    stage = PrefixPrediction("pretrain", catalog.embeddings, sequences, params, [Geometry.blank(catalog.dimension)])
    model = new_model(catalog.dimension, context.params.model, seed)
    run_stage(model, stage, params, seed, context.output("pretrained"), context.scratch, context.logger)
    return {"sequences_from": source, "sequences": len(sequences)}


def _sequences(context: StepContext, catalog: Catalog) -> tuple[str, np.ndarray]:
    """Where the sequences come from, and their catalogue rows int32 [S, L], padded with -1."""
    patterns = [Patterns.load(path) for path in sorted(context.input("patterns").glob("*.npz"))]
    allowed, params = shared_items(patterns), context.params.build_trajectories
    if len(catalog.sequences):
        windows = sequence_windows(catalog.sequences, allowed, params.length)
        if not len(windows):
            raise InsufficientDataError("interactions: no sequence keeps 4 items once the held-out items are taken out")
        return "interactions", windows
    context.logger.info("the catalogue has no interactions: pretraining draws its sequences from the training patterns")
    generator = stream(context.seed, "pretrain", "pattern sequences")
    drawn = pattern_sequences(patterns, allowed, params.length, params.sequences, generator)
    if not len(drawn):
        raise InsufficientDataError("patterns: no training pattern has 4 items that every domain may train on")
    return "patterns", drawn
