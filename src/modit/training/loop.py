"""The one training loop of all stages: pretrain, continue_pretrain, finetune and HPPO.

The batch of step s is drawn from a generator seeded by (seed, stage, s) for the whole global batch, then cut among
processes and micro-batches. So a resumed run, an accumulated run and a data-parallel run see the same numbers as a
plain one.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from modit.core.memory import batch_parts
from modit.core.seeds import derived_seed
from modit.training.checkpoint import load_training_state, save_training_state
from modit.training.distributed import (
    Network,
    must_shard,
    rank_and_size,
    shard,
    training_bytes,
    training_device,
    whole_model,
    whole_tensor,
)
from modit.training.params import LoopParams

Batch = dict[str, Tensor]
Trained = TypeVar("Trained", bound=nn.Module, contravariant=True)


class Log(Protocol):
    """Where a stage's figures go; `modit.training.session.Journal` is one."""

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        """Takes the figures of a step."""
        ...

    def rewind(self, step: int) -> None:
        """Drops the figures of later steps than `step`."""
        ...


class Stage(Protocol[Trained]):
    """Data and loss of a training stage of some kind of network."""

    name: str

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Draws a global batch: tensors whose first dimension is `size`."""
        ...

    def loss(self, model: Trained, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each row [b], and figures to log, each [b]."""
        ...


class Objective(nn.Module):
    """A model with the loss of a stage, so that data parallelism wraps one forward."""

    def __init__(self, model: Network, stage: Stage[Network]) -> None:
        super().__init__()
        self.model, self.stage = model, stage

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and figures of each row."""
        return self.stage.loss(self.model, batch)


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """The generator of one step, independent of all other steps."""
    return torch.Generator().manual_seed(derived_seed(seed, stage, step))


def learning_rate_factor(step: int, params: LoopParams) -> float:
    """Linear warm-up, then cosine to `final_ratio` of the peak."""
    warmup = max(1, round(params.warmup * params.steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, params.steps - warmup)
    return params.final_ratio + (1 - params.final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizer(model: nn.Module, params: LoopParams) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": params.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=params.betas, foreach=True)


def build_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """The exponential average of the weights; None for no decay."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None


def train(
    model: Network,
    stage: Stage[Network],
    params: LoopParams,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
) -> Network:
    """Trains a model and returns it (its weight average where `params.ema` is set); in bf16 on a GPU.

    Args:
        model: the network to start from, trained in place or cut up; what is returned is whole, in evaluation mode, on
            the CPU. It is built from its attribute `config`, and cut up along its `blocks` if it has any.
        stage: data and loss.
        params: optimiser settings.
        seed: of batches, noise, times and dropout.
        log: called with the step and figures every `log_every` steps, on rank 0 only.
        checkpoint: file to resume from and to write to; None to keep nothing.
    """
    device = training_device()
    model.to(device).train()
    average = build_average(model, params.ema)
    objective = _in_team(Objective(model, stage), average, params, device)
    optimizer = build_optimizer(model, params)
    start = load_training_state(checkpoint, model, optimizer, average) if checkpoint else 0
    rank = rank_and_size()[0]
    if rank == 0:
        log.rewind(start)
    for step in range(start, params.steps):
        figures = _optimizer_step(objective, optimizer, stage, params, step, seed, device)
        if average is not None:
            average.update_parameters(model)
        last = step + 1 == params.steps
        if rank == 0 and (last or (step + 1) % params.log_every == 0):
            log(step + 1, figures)
        if checkpoint and not last and (step + 1) % params.checkpoint_every == 0:
            save_training_state(checkpoint, model, optimizer, average, step + 1)
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    return whole_model(model).eval().cpu()


def _in_team(
    objective: Objective, average: AveragedModel | None, params: LoopParams, device: torch.device
) -> nn.Module:
    """The objective as the processes of a team share it: a whole copy in each, or cut among them."""
    if rank_and_size()[1] == 1:
        return objective
    if must_shard(params.sharding, training_bytes(objective.model, average is not None), device):
        shard(objective, average, device)
        return objective
    return DistributedDataParallel(objective)  # every parameter has a part in every loss


def _optimizer_step(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    stage: Stage[Network],
    params: LoopParams,
    step: int,
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """One step on the global batch, cut among processes and micro-batches; figures are means over all of it."""
    rank, size = rank_and_size()
    generator = step_generator(seed, stage.name, step)
    torch.manual_seed(derived_seed(seed, stage.name, step, "dropout", rank))
    batch = stage.batch(generator, params.batch)
    totals: dict[str, Tensor] = {}
    cuts = min(params.accumulate * batch_parts(), max(1, params.batch // size))
    for micro in range(cuts):
        part = slice(rank * cuts + micro, None, size * cuts)
        rows = {name: value[part].to(device) for name, value in batch.items()}
        with _gradients_kept_here(objective, last=micro + 1 == cuts):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss, figures = objective(rows)
            (loss.sum() * size / params.batch).backward()  # data parallelism takes the mean over processes
        for name, value in {"loss": loss, **figures}.items():
            totals[name] = totals.get(name, torch.zeros((), device=device)) + value.detach().sum() / params.batch
    norm = whole_tensor(nn.utils.clip_grad_norm_(objective.parameters(), params.clip))
    rate = params.learning_rate * learning_rate_factor(step, params)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if size > 1:
        for value in totals.values():
            distributed.all_reduce(value)
    means = {name: float(value) for name, value in totals.items()}
    return means | {"gradient_norm": float(norm), "learning_rate": rate}


def _gradients_kept_here(objective: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Lets processes exchange gradients only with the last micro-batch of a step."""
    if isinstance(objective, DistributedDataParallel) and not last:
        return objective.no_sync()
    return contextlib.nullcontext()
