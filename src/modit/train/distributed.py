"""Data parallelism under torchrun: the process group, each process's device, and what the first tells the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as distributed

from modit.core.team import Team

Value = TypeVar("Value")


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
