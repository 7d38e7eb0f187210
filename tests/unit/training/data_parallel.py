"""Trains small models as one of torchrun's processes, in each way that the tests name, and writes what came out."""

import logging
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

import modit.training.loop as loop
from modit.hppo.params import HPPOParams
from modit.hppo.round import round_optimizer
from modit.training.distributed import joined_team
from modit.training.session import Journal
from tests.unit.training.conftest import World, settings, small_model

HPPO = HPPOParams(steps=6, batch=8)
SHARDINGS = ("none", "full")


def preference(sharding):
    """A stage of HPPO, whose reference is whole in every process."""
    params = HPPO.model_copy(update={"sharding": sharding})
    return World().preference(small_model(), params), round_optimizer(params).model_copy(update={"ema": 0.9}), None


def prefix(sharding, checkpoint):
    params = settings(accumulate=2, ema=0.9, sharding=sharding)
    return World().prefix(params), params, checkpoint


def main(folder: Path) -> None:
    found, cut = {}, []
    shard = loop.shard

    def watched(objective, average, device):
        shard(objective, average, device)
        parameters = list(objective.parameters()) + list(average.module.parameters())
        cut.append([(p.numel(), p.to_local().numel()) for p in parameters if isinstance(p, DTensor)])

    loop.shard = watched
    with joined_team() as team:
        # Only the first process has states; the others must learn of them.
        own = folder if team.rank == 0 else folder / "elsewhere"
        for sharding in SHARDINGS:
            cases = {
                "whole": prefix(sharding, own / f"{sharding}.pt"),
                "resumed": prefix(sharding, own / f"{sharding}.pt"),  # the state that the case before left
                "taken_over": prefix(sharding, own / f"alone_{sharding}.pt"),
                "hppo": preference(sharding),
            }
            for name, (stage, params, checkpoint) in cases.items():
                journal = Journal(stage.name, params.steps, logging.getLogger("test"))
                model = loop.train(small_model(), stage, params, 3, journal, checkpoint)
                found[f"{sharding}/{name}"] = {"weights": model.state_dict(), "curve": journal.curve}
    torch.save({"cases": found, "cut": cut}, folder / f"found{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
