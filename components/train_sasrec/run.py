"""Trains two SASRecs of one size on the training part of all sessions, one with each loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions
from modit.training.sasrec import LOSSES, NextItemPrediction, new_sasrec
from modit.training.session import run_stage

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`; writes `sasrec`: binary/ and full/ with model.pt and curve.json each.

    Returns:
        How many `sessions` are trained on, and how many `sessions_left_out` are too short for each part.
    """
    catalog = Catalog.load(context.input("catalog"))
    sessions, params = Sessions(catalog.sequences), context.params.train_sasrec
    sessions.require_training()
    for loss in LOSSES:
        stage = NextItemPrediction(f"sasrec_{loss}", sessions.training, params.window, loss)
        seed = derived_seed(context.seed, "sasrec", loss)
        folder, scratch = context.output("sasrec") / loss, context.scratch / loss
        for each in (folder, scratch):
            each.mkdir(exist_ok=True)
        model = new_sasrec(len(catalog), params, seed)
        enough = math.ceil(params.passes * len(stage.sessions) / params.batch)
        trained = params.model_copy(update={"steps": min(params.steps, enough)})
        run_stage(model, stage, trained, seed, folder, scratch, context.logger)
    return {"sessions": len(stage.sessions), "sessions_left_out": sessions.left_out}
