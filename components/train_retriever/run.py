"""Supervised training of the decoder on training sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.semantic_ids.retriever import MODEL_FILE
from modit.semantic_ids.starting_point import StartingPoint
from modit.semantic_ids.training import SessionPrediction, new_decoder
from modit.training.checkpoint import save_model
from modit.training.session import run_stage

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads `catalog`, `item_codes` and `starting_point`; writes `next_item_retriever`: model.pt and curve.json.

    The weights that it starts from are drawn, or those of an earlier version.

    Returns:
        `sessions` that it was trained on, sessions that are `too_short` for a validation or a test case, and
        `parameters` of the decoder.

    Raises:
        InsufficientDataError: no session is long enough to train on.
        ConfigError: the earlier version has a decoder of another size.
    """
    catalog = Catalog.load(context.input("catalog"))
    sessions = Sessions(catalog.sequences)
    sessions.require_training()
    codes = ItemCodes.load(context.input("item_codes") / CODES_FILE)
    params, seed = context.params.train_retriever, derived_seed(context.seed, "train_retriever")
    stage = SessionPrediction("train_retriever", codes, sessions.training, params)
    model = new_decoder(codes, params, seed, catalog.embeddings)
    if start := StartingPoint.load(context.input("starting_point")):
        model = start.continued(model, codes, catalog.item_ids)
    folder = context.output("next_item_retriever")
    model = run_stage(model, stage, params, seed, folder, context.scratch, context.logger)
    if model.items is not None:
        model.items.settle(torch.from_numpy(np.asarray(catalog.embeddings)), codes.counts)
        save_model(folder / MODEL_FILE, model)
    return {
        "sessions": len(stage.sessions),
        "too_short": sessions.left_out,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
