"""Trains a small model as one of torchrun's processes; the first writes the curve and the weights."""

import json
import logging
import sys
from pathlib import Path

import torch
from conftest import World, settings, small_model  # this folder's, beside this script

from modit.train.distributed import joined_team
from modit.train.journal import Journal
from modit.train.loop import train

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with joined_team() as team:
        params = settings(accumulate=2, ema=0.9)
        # Only the first process has the interrupted state; the others must learn of it.
        checkpoint = folder / ("state.pt" if team.rank == 0 else "elsewhere.pt")
        journal = Journal("pretrain", params.steps, logging.getLogger("test"))
        model = train(small_model(), World().prefix(params), params, 3, journal, checkpoint)
    torch.save(model.state_dict(), folder / f"weights{team.rank}.pt")
    if team.rank == 0:
        (folder / "curve.json").write_text(json.dumps(journal.curve))
