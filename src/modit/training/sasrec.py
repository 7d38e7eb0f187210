"""Training of SASRec on sessions: every item is predicted from those before it.

Two losses. `binary` is that of the original: each target against one item drawn evenly from those that are not in the
session (Kang and McAuley 2018, Eq. 6). `full` is the cross-entropy over all items, with which a small SASRec is a far
stronger peer (Klenitskiy and Vasilev, RecSys 2023; Petrov and Macdonald, RecSys 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modit.data.catalog import Sequences
from modit.model.sasrec import Sasrec, SasrecConfig, states_by_length
from modit.training.checkpoint import load_network
from modit.training.loop import Batch
from modit.training.params import SasrecParams

LOSSES = ("binary", "full")


def new_sasrec(items: int, params: SasrecParams, seed: int) -> Sasrec:
    """A network over N = `items` items, with fresh weights drawn from `seed`."""
    torch.manual_seed(seed)
    return Sasrec(SasrecConfig(items, params.width, params.depth, params.heads, params.dropout, params.window))


def load_sasrec(path: Path) -> Sasrec:
    """Reads a trained network, in evaluation mode.

    Raises:
        ArtifactError: the file is missing.
    """
    return load_network(path, lambda config: Sasrec(SasrecConfig(**config)))


def padded_windows(sequences: Sequences, window: int) -> np.ndarray:
    """The last items of each sequence, int64 [S, window], oldest first, padded with -1 at the end."""
    lengths = np.minimum(np.diff(sequences.offsets), window)
    rows = np.full((len(sequences), max(1, int(lengths.max(initial=0)))), -1, np.int64)
    there = np.arange(rows.shape[1]) < lengths[:, None]
    places = (sequences.offsets[1:] - lengths)[:, None] + np.arange(rows.shape[1])
    rows[there] = np.asarray(sequences.items)[places[there]]
    return rows


class NextItemPrediction:
    """Data and loss of the stage: a batch is a draw of sessions."""

    def __init__(self, name: str, training: Sequences, window: int, loss: str) -> None:
        """Keeps the sessions of two items and more as a tensor.

        Args:
            name: of the stage.
            training: training items of each session.
            window: most items that the network reads.
            loss: one of `LOSSES`.
        """
        self.name, self.loss_name = name, loss
        sessions = padded_windows(training, window + 1)
        self.sessions = torch.from_numpy(sessions[(sessions >= 0).sum(1) > 1])
        # The loss of a row is the sum over its targets over the mean number of targets: its mean is that over targets.
        self.targets = float((self.sessions >= 0).sum(1).double().mean()) - 1

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Sessions [size, L], and for each place a number that the negative item is drawn by."""
        rows = self.sessions[torch.randint(len(self.sessions), (size,), generator=generator)]
        return {"sessions": rows, "negatives": torch.rand(rows[:, 1:].shape, generator=generator)}

    def loss(self, model: Sasrec, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each row [b]."""
        inputs, targets = batch["sessions"][:, :-1], batch["sessions"][:, 1:]
        states, places = states_by_length(model, torch.where(targets >= 0, inputs, -1))
        wanted = targets.flatten()[places]
        if self.loss_name == "full":
            losses = F.cross_entropy(states @ model.items.weight.T, wanted, reduction="none")
        else:
            losses = self._binary(model, states, wanted, places, batch)
        rows = torch.zeros(len(inputs), device=losses.device).index_add(0, places // inputs.shape[1], losses)
        return rows / self.targets, {}

    def _binary(self, model: Sasrec, states: Tensor, wanted: Tensor, places: Tensor, batch: Batch) -> Tensor:
        drawn = (batch["negatives"].flatten()[places] * model.config.items).long()
        own = batch["sessions"][places // (batch["sessions"].shape[1] - 1)]
        right = (states * model.items(wanted)).sum(1)
        wrong = (states * model.items(drawn)).sum(1)
        # A draw that is in the session itself counts for nothing.
        is_other = (own != drawn[:, None]).all(1)
        return F.softplus(-right) + F.softplus(wrong) * is_other


def session_scores(model: Sasrec, histories: Sequence[np.ndarray], batch: int = 256) -> np.ndarray:
    """The score of every item after each history, float32 [n, N].

    Args:
        model: in evaluation mode.
        histories: rows of items, oldest first, at least one each.
        batch: histories that are read at once.
    """
    window = model.config.window
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    rows = torch.from_numpy(padded_windows(Sequences(offsets, np.concatenate(histories)), window))
    with torch.inference_mode():
        states = torch.cat([model.last_states(part) for part in rows.split(batch)])
        return (states @ model.items.weight.T).numpy()
