"""Stage 2: the domain's model learns to say the centroid of the dense tail (SFT), as far as validation cases gain."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.hppo.validation import load_validator, score_blends
from modit.metric.trajectories import Trajectories
from modit.model.axes import Geometry
from modit.training.checkpoint import load_model, save_model
from modit.training.session import run_stage
from modit.training.stages import TargetPrediction, tail_centroids

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, the index and `continued`; writes `finetuned`: model.pt, curve.json and blends.json."""
    embeddings = Catalog.load(context.input("catalog")).embeddings
    items = Trajectories.load(context.input("trajectories") / "own.npz").items
    folders = {name: context.input(name) for name in ("catalog", "patterns", "predictor", "cases", "index")}
    validator = load_validator(folders, context.domain, context.params)
    sizes, params = context.params.build_trajectories, context.params.finetune
    targets = tail_centroids(embeddings, items, sizes.length - sizes.seeds)
    seeds, geometry = items[:, : sizes.seeds], Geometry.of(validator.geometry)
    stage = TargetPrediction("finetune", embeddings, seeds, targets, params, geometry)
    before = load_model(context.input("continued") / "model.pt")
    seed, folder = derived_seed(context.seed, "finetune", context.domain), context.output("finetuned")
    after = run_stage(copy.deepcopy(before), stage, params, seed, folder, context.scratch, context.logger)
    blends = score_blends(before, after, params.blends, validator)
    best = max(blends, key=lambda blend: blend.score.joint)
    save_model(folder / "model.pt", best.model)
    (folder / "blends.json").write_text(json.dumps([blend.as_dict() for blend in blends], indent=1) + "\n")
    context.logger.info("validation prefers the weights at %g of the way from stage 1", best.share)
    return best.as_dict()
