"""Training states: all that an interrupted stage needs to go on to the bit, in one file whoever wrote it.

A state is whole: what a sharded run saved, one process loads, and the other way round. torch's module for that is
imported where it is used: it takes most of a second, and a short stage neither saves nor loads.
"""

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
    """Writes all that the loop needs to go on after `step` steps; batches need no state, they are drawn by step.

    All processes of a team must call this together; the first writes.
    """
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        get_optimizer_state_dict,
    )

    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    payload: dict[str, Any] = {
        "model": get_model_state_dict(model, options=whole),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=whole),
        "step": step,
    }
    if average is not None:
        payload["average"] = get_model_state_dict(average, options=whole)
    if rank_and_size()[0] == 0:
        write_atomically(payload, path)


def load_training_state(path: Path, model: MODiT, optimizer: torch.optim.Optimizer, average: nn.Module | None) -> int:
    """Restores a state in place and returns the number of steps done; 0 where there is none yet.

    In a team only the first process reads, and hands out to the others what each must have; its `path` counts for all.
    """
    rank, size = rank_and_size()
    stored = _read(path) if rank == 0 else {}
    step = from_first(int(stored.get("step", 0)))
    if step == 0:
        return 0
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=size > 1)
    set_model_state_dict(model, stored.get("model", {}), options=options)
    set_optimizer_state_dict(model, optimizer, stored.get("optimizer", {}), options=options)
    if average is not None:
        set_model_state_dict(average, stored.get("average", {}), options=options)
    return step


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else {}
