"""Files of training: a model, and the state from which an interrupted stage goes on to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from modit.core.errors import ArtifactError
from modit.model.dit import DiTConfig, MODiT
from modit.training.distributed import Network, from_first, rank_and_size


def write_atomically(payload: dict[str, Any], path: Path) -> None:
    """Saves with `torch.save` under a temporary name, then renames."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    torch.save(payload, temporary)
    temporary.replace(path)


def save_model(path: Path, model: nn.Module) -> None:
    """Writes the configuration and the weights; the same weights give the same bytes.

    Args:
        path: of the file.
        model: with a dataclass as attribute `config`.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in sorted(model.state_dict().items())}
    write_atomically({"config": asdict(cast(Any, model).config), "weights": weights}, path)


def load_model(path: Path) -> MODiT:
    """Reads a DiT that `save_model` wrote, in evaluation mode.

    Raises:
        ArtifactError: the file is missing.
    """
    return load_network(path, lambda config: MODiT(DiTConfig(**config)))


def count_weights(path: Path) -> int:
    """How many numbers a network has that `save_model` wrote.

    Raises:
        ArtifactError: the file is missing.
    """
    return sum(value.numel() for value in _stored(path)["weights"].values())


def load_network(path: Path, build: Callable[[dict[str, Any]], Network]) -> Network:
    """Reads what `save_model` wrote, in evaluation mode.

    Args:
        path: of the file.
        build: makes a network from the fields of its configuration.

    Raises:
        ArtifactError: the file is missing.
    """
    stored = _stored(path)
    model = build(stored["config"])
    model.load_state_dict(stored["weights"])
    return model.eval()


def _stored(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ArtifactError(f"{path}: no model file")
    return torch.load(path, map_location="cpu", weights_only=True)


def save_training_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None, step: int
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


def load_training_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None
) -> int:
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
