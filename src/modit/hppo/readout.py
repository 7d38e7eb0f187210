"""The last choice of a domain: which fixed moves vote, and how much of the served query is the network's.

A move that is best on a few validation patterns is often best by chance. So all of them vote, each with the weight
exp(Joint / temperature), and what they agree on remains (docs/adr/0043).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from modit.data.splits import VALIDATIONS, Split
from modit.hppo.validation import Validator
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.readout import MOVES, Move, Readout, mix, readout_json, vote
from modit.model.sampler import blends_of_seeds

# What the network's share is chosen from; of equal figures the smaller share, which is simpler, is taken.
SHARES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
# In Joint@K: moves that lie two points behind the best have a weight of 1/e of its.
TEMPERATURE = 0.02
# Moves that vote: the weight of the others together is next to nothing, and each costs time in the exported file.
VOTERS = 32


class ReadoutChoice(NamedTuple):
    """What was chosen, and what each share reached on validation.

    Attributes:
        share: The network's, one of `SHARES`.
        moves: Those that vote, the heaviest first.
        weights: Of the moves, summing to 1.
        shares: Share -> kind of validation -> mean Joint@K.
        best_move: The mean Joint@K over patterns of the best single move.
    """

    share: float
    moves: Sequence[Move]
    weights: Sequence[float]
    shares: dict[float, dict[str, float]]
    best_move: float

    def as_json(self) -> dict[str, Any]:
        """For `readout.json`."""
        tried = [
            {"share": share} | {kind: round(value, 6) for kind, value in by_kind.items()}
            for share, by_kind in self.shares.items()
        ]
        return readout_json(self.share, self.moves, self.weights) | {
            "validation": tried,
            "best_move": round(self.best_move, 6),
        }


def choose_readout(model: MODiT, guidance: float, validator: Validator) -> ReadoutChoice:
    """Chooses moves and weights on the patterns of both kinds of validation, and the share by the mean of both kinds.

    For the share both kinds weigh the same: a network that memorises its patterns gains on items and loses on patterns.

    Args:
        model: The last of HPPO.
        guidance: Its serving scale.
        validator: Of the domain.

    Raises:
        ValueError: Neither kind of validation has a case.
    """
    geometry = Geometry.of(validator.geometry)
    kinds = [split for split in VALIDATIONS if len(validator.cases[split][0])]
    if not kinds:
        raise ValueError("neither kind of validation has a case to choose a readout on")
    blends = {split: blends_of_seeds(*validator.seeds(split), geometry) for split in kinds}
    network = {split: validator.queries(model, split, [guidance])[:, 0] for split in kinds}

    def joint(readout: Readout) -> dict[Split, np.ndarray]:
        """Joint@K of each kind's cases."""
        queries = {split: mix(network[split], vote(blends[split], readout), readout.share) for split in kinds}
        return {split: validator.judge(split, found.numpy()).joint for split, found in queries.items()}

    patterns = {split: validator.cases[split][1] for split in kinds}
    alone = [joint(Readout.of(0.0, [move], [1.0], geometry)) for move in MOVES]
    figures = np.array([mean_over_patterns(found, patterns) for found in alone])
    moves, weights = voters(figures)
    by_share = {share: joint(Readout.of(share, moves, weights, geometry)) for share in SHARES}
    shares = {
        share: {str(split): float(values.mean()) for split, values in found.items()}
        for share, found in by_share.items()
    }
    best = max(SHARES, key=lambda share: (round(sum(shares[share].values()), 9), -share))
    return ReadoutChoice(best, moves, weights, shares, float(figures.max()))


def mean_over_patterns(joint: Mapping[Split, np.ndarray], patterns: Mapping[Split, np.ndarray]) -> float:
    """The mean over the patterns of all kinds of the mean Joint@K of a pattern's cases.

    A fixed move has learnt no pattern, so both kinds tell the same of it, and its patterns are what is independent.

    Args:
        joint: Of the cases of each kind.
        patterns: Of the same cases.
    """
    means = [
        values[patterns[split] == pattern].mean()
        for split, values in joint.items()
        for pattern in np.unique(patterns[split])
    ]
    return float(np.mean(means))


def voters(joint: np.ndarray) -> tuple[list[Move], list[float]]:
    """The moves that vote, the heaviest first, and their weights.

    Args:
        joint: Mean Joint@K over patterns of every move of `MOVES`, in [0, 1].
    """
    weight = np.exp((joint - joint.max()) / TEMPERATURE)
    order = np.argsort(-weight, kind="stable")[:VOTERS]
    kept = weight[order] / weight[order].sum()
    return [MOVES[number] for number in order], kept.tolist()
