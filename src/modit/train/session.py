"""A training stage as a step runs it: journal, checkpoint, files."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from modit.core.sections.model import ModelParams
from modit.core.sections.train import OptimizerParams
from modit.model.dit import DiTConfig, MODiT
from modit.model.storage import save_model
from modit.train.journal import Journal
from modit.train.loop import Stage, train


def new_model(dimension: int, params: ModelParams, seed: int) -> MODiT:
    """A model with fresh weights drawn from `seed`."""
    torch.manual_seed(seed)
    return MODiT(DiTConfig(dimension=dimension, **params.model_dump()))


def run_stage(
    model: MODiT,
    stage: Stage,
    params: OptimizerParams,
    seed: int,
    folder: Path,
    scratch: Path,
    logger: logging.Logger,
) -> MODiT:
    """Trains and writes `model.pt` and `curve.json` into `folder`; an interrupted stage goes on from `scratch`.

    Args:
        model: what to start from; it may be trained in place.
        stage: data and loss.
        params: optimiser settings.
        seed: of the stage.
        folder: the output artifact.
        scratch: where the checkpoint and the curve live until the stage is done.
        logger: for progress where there is no terminal.
    """
    journal = Journal(stage.name, params.steps, logger, scratch / "curve.jsonl")
    model = train(model, stage, params, seed, journal, scratch / "state.pt")
    journal.save(folder / "curve.json")
    save_model(folder / "model.pt", model)
    return model
