"""Training states: all that an interrupted stage needs to go on to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from modit.model.dit import MODiT
from modit.model.storage import write_atomically
from modit.train.distributed import from_first, rank_and_size


def save_training_state(
    path: Path, model: MODiT, optimizer: torch.optim.Optimizer, average: nn.Module | None, step: int
) -> None:
    """Writes all that the loop needs to go on after `step` steps; batches need no state, they are drawn by step."""
    payload = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    if average is not None:
        payload["average"] = average.state_dict()
    write_atomically(payload, path)


def load_training_state(path: Path, model: MODiT, optimizer: torch.optim.Optimizer, average: nn.Module | None) -> int:
    """Restores a state in place and returns the number of steps done; 0 where there is none yet.

    In a team only the first process reads; its `path` counts for all.
    """
    is_first = rank_and_size()[0] == 0
    stored = from_first(_read(path) if is_first else None)
    if stored is None:
        return 0
    model.load_state_dict(stored["model"])
    optimizer.load_state_dict(stored["optimizer"])
    if average is not None:
        average.load_state_dict(stored["average"])
    return int(stored["step"])


def _read(path: Path) -> dict[str, Any] | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
