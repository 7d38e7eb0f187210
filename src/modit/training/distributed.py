"""Training by several processes: the process group under torchrun, and full sharding (FSDP) of large models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from modit.core.runner import Team
from modit.training.params import Sharding

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


Value = TypeVar("Value")
Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def joined_team() -> Iterator[Team]:
    """Joins the processes that torchrun started: gloo on CPU, NCCL for tensors on GPUs.

    Raises:
        ValueError: torchrun's variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) are missing.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(training_device())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Team(distributed.get_rank(), from_first)
    finally:
        distributed.destroy_process_group()


def training_device() -> torch.device:
    """The GPU of this process, where there are GPUs."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def rank_and_size() -> tuple[int, int]:
    """Number of this process and how many there are; (0, 1) for one alone."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def from_first(value: Value) -> Value:
    """The first process's value, in every process."""
    if rank_and_size()[1] == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


# What training keeps of a float32 parameter: itself, its gradient, AdamW's two moments; and the buckets in which data
# parallelism exchanges gradients.
_COPIES = 5
# Share of a GPU's memory that this may take; activations and the libraries need the rest.
STATE_SHARE = 0.5


def training_bytes(model: nn.Module, averaged: bool) -> int:
    """Bytes that a process keeps for a model that it trains whole, without activations.

    Args:
        model: float32 parameters; a model on the device `meta` will do.
        averaged: whether a weight average is kept beside it.
    """
    return sum(parameter.nbytes for parameter in model.parameters()) * (_COPIES + averaged)


def must_shard(sharding: Sharding, needed: int, device: torch.device) -> bool:
    """Whether the processes of a team cut the model among them; the same answer in each.

    Args:
        sharding: "none", "full", or "auto": where `needed` is more than `STATE_SHARE` of the GPU's memory.
        needed: `training_bytes`.
        device: of this process; on a CPU "auto" never cuts, since all processes share one memory.
    """
    if rank_and_size()[1] == 1 or sharding == "none":
        return False
    if sharding == "full":
        return True
    full = device.type == "cuda" and needed > STATE_SHARE * torch.cuda.get_device_properties(device).total_memory
    return from_first(full)


def shard(objective: nn.Module, average: AveragedModel | None, device: torch.device) -> None:
    """Cuts the model of `objective`, and its average, among all processes in place, along its `blocks` if it has any.

    Args:
        objective: `modit.training.loop.Objective`.
        average: of the same model.
        device: of the processes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (rank_and_size()[1],))
    for root in (objective, *([average.module] if average is not None else [])):
        for block in getattr(getattr(root, "model", root), "blocks", ()):
            fully_shard(block, mesh=mesh)
            if hasattr(block, "encode"):
                register_fsdp_forward_method(block, "encode")  # conditions pass a block by this method
        fully_shard(root, mesh=mesh)


def whole_tensor(value: Tensor) -> Tensor:
    """The tensor itself, or all of it where it is cut; all processes must call this together."""
    return value.full_tensor() if _is_cut(value) else value


def whole_model(model: Network) -> Network:
    """The model itself, or a whole copy in each process where it is cut; all processes must call this together.

    Args:
        model: built from its attribute `config` alone, or from its attribute `made_of`, if it has one.
    """
    if not any(map(_is_cut, model.parameters())):
        return model
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    copy = type(model)(*getattr(model, "made_of", None) or (cast(Any, model).config,))
    copy.load_state_dict(cast(dict[str, Tensor], weights))
    return copy


def _is_cut(value: Tensor) -> TypeGuard[DTensor]:
    return hasattr(value, "full_tensor")
