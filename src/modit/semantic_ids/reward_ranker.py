"""The reward model of AdaGRPO: a ranker of items for a history that is fitted on exposure-biased impressions only.

A site logs what it shows, and it shows what is popular. Public sets have no impressions, so these are drawn: an item is
shown in proportion to popularity^gamma. A step of a training session (the items so far, and the next one) becomes a
clicked impression in proportion to the exposure of its item, and items that are drawn by exposure and are not in the
session are impressions that were passed over. Items of the tail are rarely shown, so that the ranker is wrong where a
production ranker is. `auc_by_popularity` measures it on pairs that exposure has no part in.

Shape legend: B rows, W items of the longest history, K items to score, N items, d width of an embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.core.seeds import derived_seed, stream
from modit.data.catalog import Sequences
from modit.semantic_ids.params import RewardRankerParams
from modit.semantic_ids.session_steps import SessionSteps, draw
from modit.training.checkpoint import load_network
from modit.training.loop import Batch
from modit.training.session import run_stage

_DECILES = 10


@dataclass(frozen=True)
class RankerConfig:
    """Size of a ranker.

    Attributes:
        items: N.
        dimension: d, of the catalogue's embeddings.
        width: of an item's vector inside.
        hidden: of the MLP's hidden layer.
    """

    items: int
    dimension: int
    width: int = 32
    hidden: int = 64


class RewardRanker(nn.Module):
    """Two-layer MLP on the mean vector of the history, the item's vector, their product and the item's popularity.

    The vector of an item is a linear map of its embedding and a learned vector of its own.
    """

    vectors: Tensor
    popularity: Tensor
    source: Tensor

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.config = config
        self.content = nn.Linear(config.dimension, config.width, bias=False)
        self.own = nn.Embedding(config.items, config.width)
        self.up = nn.Linear(3 * config.width + 1, config.hidden)
        self.down = nn.Linear(config.hidden, 1)
        nn.init.normal_(self.own.weight, std=0.05)
        self.register_buffer("vectors", torch.zeros(config.items, config.dimension))
        self.register_buffer("popularity", torch.zeros(config.items))
        self.register_buffer("source", torch.arange(config.items))

    @classmethod
    def of(cls, embeddings: np.ndarray, counts: np.ndarray, params: RewardRankerParams, seed: int) -> RewardRanker:
        """An untrained ranker of a catalogue.

        Args:
            embeddings: unit [N, d].
            counts: training interactions of each item [N].
            params: its size.
            seed: of the weights.
        """
        torch.manual_seed(seed)
        model = cls(RankerConfig(len(embeddings), embeddings.shape[1], params.width, params.hidden))
        model.vectors.copy_(torch.from_numpy(np.ascontiguousarray(embeddings)))
        model.popularity.copy_(torch.from_numpy(np.log1p(counts) / np.log1p(max(1, counts.max()))))
        return model

    def forward(self, histories: Tensor, items: Tensor) -> Tensor:
        """Scores of items for histories; the higher, the better.

        Args:
            histories: int64 [B, W], padded with -1 on either side; at least one item each.
            items: int64 [B, K]; -1 is scored as item 0.

        Returns:
            Log-odds of a click [B, K].
        """
        there = (histories >= 0)[..., None]
        read = torch.where(there, self._vector(histories.clamp_min(0)), 0.0).sum(1) / there.sum(1).clamp_min(1)
        items = items.clamp_min(0)
        scored, history = self._vector(items), read[:, None].expand(-1, items.shape[1], -1)
        features = torch.cat([history, scored, history * scored, self.popularity[items][..., None]], -1)
        return self.down(F.gelu(self.up(features)))[..., 0]

    def _vector(self, items: Tensor) -> Tensor:
        source = self.source[items]
        return self.content(self.vectors[source]) + self.own(source)

    def corrupted(self, share: float, seed: int) -> RewardRanker:
        """A copy in which a share of the items have the vectors of each other; a larger share includes a smaller one.

        Args:
            share: in [0, 1].
            seed: which items, and whose vectors they get.
        """
        order = stream(seed, "corrupted items").permutation(self.config.items)[: round(share * self.config.items)]
        copy = type(self)(self.config)
        copy.load_state_dict(self.state_dict())
        copy.source[torch.from_numpy(order)] = self.source[torch.from_numpy(np.roll(order, 1))]
        return copy.train(self.training)


class Impressions:
    """Data and loss of the ranker: clicked impressions with items that were shown and passed over."""

    def __init__(self, training: Sequences, counts: np.ndarray, params: RewardRankerParams) -> None:
        """Keeps the steps of all sessions with their exposure.

        Args:
            training: training items of each session, oldest first.
            counts: training interactions of each item [N].
            params: exposure and the number of passed-over items.

        Raises:
            InsufficientDataError: no session has two items.
        """
        self.name, self.params = "reward_ranker", params
        self.steps = SessionSteps(training)
        exposure = torch.from_numpy(exposures(counts, params.exposure))
        self.shown = exposure.cumsum(0)
        self.clicked = exposure[self.steps.items[self.steps.places]].cumsum(0)

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Steps drawn by the exposure of their item, with items drawn by exposure."""
        steps = draw(self.clicked, (size,), generator)
        shown = draw(self.shown, (size, self.params.passed_over), generator)
        session = self.steps.sessions(steps)
        return {
            "histories": self.steps.histories(steps, self.params.window),
            "items": torch.cat([self.steps.following(steps, 1), shown], 1),
            "passed_over": (shown[:, :, None] != session[:, None]).all(2),
        }

    def loss(self, model: RewardRanker, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Binary cross-entropy of the impressions of each row [b], and the share of pairs in the right order."""
        scores, passed = model(batch["histories"], batch["items"]), batch["passed_over"]
        losses = F.softplus(-scores[:, 0]) + (F.softplus(scores[:, 1:]) * passed).sum(1)
        right = ((scores[:, :1] > scores[:, 1:]) & passed).sum(1) / passed.sum(1).clamp_min(1)
        return losses / scores.shape[1], {"right_order": right}


def fit_reward_ranker(
    embeddings: np.ndarray,
    training: Sequences,
    counts: np.ndarray,
    params: RewardRankerParams,
    seed: int,
    folder: Path,
    scratch: Path,
    logger: logging.Logger,
) -> RewardRanker:
    """Fits a ranker on drawn impressions and writes `model.pt` and `curve.json`; the same seed gives the same bytes.

    Args:
        embeddings: unit [N, d].
        training: training items of each session, oldest first.
        counts: training interactions of each item [N].
        params: exposure, size and training.
        seed: of weights and draws.
        folder: of the output.
        scratch: of the checkpoint, from which an interrupted fit goes on.
        logger: for progress.

    Returns:
        The ranker, corrupted if the parameters say so; the stored one is not.
    """
    model = RewardRanker.of(embeddings, counts, params, derived_seed(seed, "reward_ranker", "weights"))
    stage = Impressions(training, counts, params)
    model = run_stage(model, stage, params, derived_seed(seed, "reward_ranker"), folder, scratch, logger)
    return model.corrupted(params.corrupted, seed).requires_grad_(False)


def load_reward_ranker(path: Path) -> RewardRanker:
    """Reads a stored ranker.

    Raises:
        ArtifactError: there is none.
    """
    return load_network(path, lambda config: RewardRanker(RankerConfig(**config)))


@torch.no_grad()
def auc_by_popularity(
    model: RewardRanker,
    histories: Sequence[np.ndarray],
    targets: np.ndarray,
    counts: np.ndarray,
    seed: int,
    drawn: int = 50,
) -> list[dict[str, float]]:
    """How well a ranker tells next items from others, for each tenth of the catalogue by popularity.

    Exposure has no part in these pairs: the other items are drawn evenly, once from all items and once from those of
    the same tenth, where popularity says little.

    Args:
        model: in evaluation mode.
        histories: rows of the catalogue of n cases that nothing was fitted on, at least one each.
        targets: the next item of each case [n].
        counts: training interactions of each item [N]; equal counts are in the same tenth.
        seed: of the draws.
        drawn: other items for each case.

    Returns:
        For each tenth with cases, least popular first: `decile` from 0, `cases`, and the mean AUC `against_all` and
        `against_alike`.
    """
    decile, generator = popularity_deciles(counts), stream(seed, "auc_by_popularity")
    read = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(np.asarray(history, np.int64)) for history in histories], batch_first=True, padding_value=-1
    )
    found: list[dict[str, float]] = []
    for group in range(_DECILES):
        own, alike = np.flatnonzero(decile[targets] == group), np.flatnonzero(decile == group)
        if not len(own):
            continue
        auc = []
        for pool in (np.arange(len(counts)), alike):
            others = pool[generator.integers(len(pool), size=(len(own), drawn))]
            items = torch.from_numpy(np.concatenate([targets[own, None], others], 1)).long()
            parts = torch.arange(len(own)).split(1024)
            of_cases = read[torch.from_numpy(own)]
            scores = torch.cat([model(of_cases[part], items[part]) for part in parts])
            other = items[:, 1:] != items[:, :1]
            right = (scores[:, :1] > scores[:, 1:]).double() + (scores[:, :1] == scores[:, 1:]) / 2
            auc.append(float((right * other).sum() / other.sum().clamp_min(1)))
        found.append({"decile": group, "cases": len(own), "against_all": auc[0], "against_alike": auc[1]})
    return found


def popularity_deciles(counts: np.ndarray) -> np.ndarray:
    """The tenth of the catalogue that each item is in, int64 [N], 0 for the least popular; equal counts share one."""
    ordered = np.sort(counts)
    middle = (np.searchsorted(ordered, counts, "left") + np.searchsorted(ordered, counts, "right")) / 2
    return np.minimum((_DECILES * middle / max(1, len(counts))).astype(np.int64), _DECILES - 1)


def exposures(counts: np.ndarray, gamma: float) -> np.ndarray:
    """How often each item is shown, in proportion: popularity^gamma float64 [N], 0 for items of no training session."""
    return np.where(counts > 0, np.maximum(counts, 1.0) ** gamma, 0.0)
