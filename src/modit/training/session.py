"""A training stage as a step runs it: its curve, its checkpoint, its files."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from modit.model.dit import DiTConfig, MODiT
from modit.training.checkpoint import save_model
from modit.training.distributed import Network
from modit.training.loop import Stage, train
from modit.training.params import LoopParams, ModelParams

_SECONDS_BETWEEN_LINES = 10.0


class Journal:
    """Collects figures of a stage; a bar on a terminal, plain log lines elsewhere."""

    def __init__(self, stage: str, steps: int, logger: logging.Logger, file: Path | None = None) -> None:
        """Starts a curve, or goes on with the one in `file`.

        Args:
            stage: its name.
            steps: of the whole stage.
            logger: for progress where there is no terminal.
            file: keeps the curve across a crash; None to keep nothing.
        """
        self.stage, self.steps, self.logger, self.file = stage, steps, logger, file
        self.curve: list[dict[str, float]] = []
        if file and file.exists():
            self.curve = [json.loads(line) for line in file.read_text().splitlines()]
        self._bar: tqdm | None = None
        self._last_line = 0.0

    def rewind(self, step: int) -> None:
        """Drops points after `step`: a resumed stage does those steps again."""
        self.curve = [point for point in self.curve if point["step"] <= step]
        if self.file:
            self.file.write_text("".join(json.dumps(point) + "\n" for point in self.curve))

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        """Adds a point and shows it."""
        point = {"step": step, **{name: round(value, 6) for name, value in figures.items()}}
        self.curve.append(point)
        if self.file:
            with self.file.open("a") as stream:
                stream.write(json.dumps(point) + "\n")
        self._show(step, figures)

    def _show(self, step: int, figures: dict[str, float]) -> None:
        text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if sys.stderr.isatty():
            self._bar = self._bar or tqdm(total=self.steps, desc=self.stage, leave=False)
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(text)
        elif step == self.steps or time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.logger.info("%s: step %d of %d, %s", self.stage, step, self.steps, text)

    def save(self, path: Path) -> None:
        """Writes the curve as JSON."""
        path.write_text(json.dumps(self.curve, indent=1) + "\n")
        if self._bar is not None:
            self._bar.close()


def network_config(dimension: int, params: ModelParams) -> DiTConfig:
    """The size of the network over embeddings of a width."""
    return DiTConfig(dimension=dimension, **params.model_dump())


def new_model(dimension: int, params: ModelParams, seed: int) -> MODiT:
    """A model with fresh weights drawn from `seed`."""
    torch.manual_seed(seed)
    return MODiT(network_config(dimension, params))


def run_stage(
    model: Network,
    stage: Stage[Network],
    params: LoopParams,
    seed: int,
    folder: Path,
    scratch: Path,
    logger: logging.Logger,
) -> Network:
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
