"""The last choice of a domain: which moves vote, and how much of the network's query is in them.

A move that is best on a few validation patterns is often best by chance. So all of them vote, each with the weight
exp(Joint / temperature), and they are judged on folds of the training patterns too (docs/adr/0043, docs/adr/0046).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modit.data.splits import VALIDATIONS, Split
from modit.data.vectors import mean_of_rows
from modit.hppo.validation import Validator
from modit.metric.list_metrics import list_metrics
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.readout import MOVES, Move, Readout, readout_json, vote
from modit.model.sampler import blends_of_seeds

# What the network's share is chosen from. The middle one is taken unless it is clearly worse than another.
SHARES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
MIDDLE = 0.5
# In Joint@K: moves that lie two points behind the best have a weight of 1/e of its.
TEMPERATURE = 0.02
# Moves that vote: the weight of the others together is next to nothing, and each costs time in the exported file.
VOTERS = 32
# Queries that are searched for together.
_AT_ONCE = 4_096


class ReadoutChoice(NamedTuple):
    """What was chosen, and what each share reached on validation.

    Attributes:
        share: The network's, one of `SHARES`.
        moves: Those that vote, the heaviest first.
        weights: Of the moves, summing to 1.
        shares: Share -> kind of validation -> mean Joint@K.
        best_move: Joint@K of the best single move, by the same measure that weighs them.
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


class _Exam(NamedTuple):
    """The cases of one kind of validation, with what a readout reads of them.

    Attributes:
        validator: Judges.
        split: Kind of validation.
        patterns: Of the cases [n].
        geometry: Of the domain, as the validator knows it.
        blends: Of the seeds [n, 6, d].
        evidence: Near the seeds [n, E, d].
    """

    validator: Validator
    split: Split
    patterns: np.ndarray
    geometry: Geometry
    blends: Tensor
    evidence: Tensor

    @classmethod
    def of(cls, validator: Validator, split: Split) -> _Exam:
        """The exam on a split's cases."""
        rows, patterns = validator.cases[split]
        geometry = Geometry.of(validator.geometry)
        evidence = validator.verdicts.directions(mean_of_rows(validator.embeddings, rows))
        blends = blends_of_seeds(*validator.seeds(split), geometry)
        return cls(validator, split, patterns, geometry, blends, torch.from_numpy(evidence))

    def voted(
        self, moves: Sequence[Move], weights: Sequence[float], share: float = 0.0, network: Tensor | None = None
    ) -> Tensor:
        """The vote of moves, unit [n, d], with a share of the network's queries [n, d]."""
        return vote(self.blends, Readout.of(share, moves, weights, self.geometry), self.evidence, network)

    def joint(self, queries: Tensor) -> np.ndarray:
        """Joint@K of several queries for each case: [G, n, d] -> [G, n]."""
        validator, (rows, patterns) = self.validator, self.validator.cases[self.split]
        found, at_once = [], max(1, _AT_ONCE // len(rows))
        for start in range(0, len(queries), at_once):
            block = queries[start : start + at_once]
            asked, times = block.flatten(0, 1).numpy(), len(block)
            exclude = np.tile(rows, (times, 1))
            lists = validator.index.search(asked, validator.k, allowed=validator.visible, exclude=exclude).rows
            metrics = list_metrics(lists, validator.positive, validator.patterns.labels, np.tile(patterns, times))
            found.append(metrics.joint.reshape(times, -1))
        return np.concatenate(found)


def choose_readout(
    model: MODiT, guidance: float, validator: Validator, folds: Sequence[Validator] = ()
) -> ReadoutChoice:
    """Chooses the moves that vote by validation and folds, and the network's share by validation.

    Args:
        model: The last of HPPO.
        guidance: Its serving scale.
        validator: Of the domain.
        folds: Validators that hold out parts of what training sees; moves have learnt nothing of those parts, the
            network has.

    Raises:
        ValueError: Neither kind of validation has a case.
    """
    exams = {split: _Exam.of(validator, split) for split in VALIDATIONS if len(validator.cases[split][0])}
    if not exams:
        raise ValueError("neither kind of validation has a case to choose a readout on")
    every = [*exams.values()]
    every += [_Exam.of(fold, split) for fold in folds for split in VALIDATIONS if len(fold.cases[split][0])]
    figures = mean_of_kinds([(exam.split, exam.patterns, _alone(exam)) for exam in every])
    moves, weights = voters(figures)
    by_share = {}
    for split, exam in exams.items():
        network = validator.queries(model, split, [guidance])[:, 0]
        by_share[split] = exam.joint(torch.stack([exam.voted(moves, weights, share, network) for share in SHARES]))
    shares = {
        share: {str(split): float(joint[place].mean()) for split, joint in by_share.items()}
        for place, share in enumerate(SHARES)
    }
    patterns = {split: exam.patterns for split, exam in exams.items()}
    return ReadoutChoice(choose_share(by_share, patterns), moves, weights, shares, float(figures.max()))


def _alone(exam: _Exam) -> np.ndarray:
    """Joint@K of every move of `MOVES` alone, [G, n]."""
    found, at_once = [], max(1, _AT_ONCE // len(exam.patterns))
    for start in range(0, len(MOVES), at_once):
        block = [exam.voted([move], [1.0]) for move in MOVES[start : start + at_once]]
        found.append(exam.joint(torch.stack(block)))
    return np.concatenate(found)


def mean_of_kinds(judged: Sequence[tuple[Split, np.ndarray, np.ndarray]]) -> np.ndarray:
    """The mean Joint@K of each of G queries: over the cases of a pattern, then over patterns, then over both kinds.

    A move has learnt no pattern, so patterns are what is independent; and it has to serve both kinds.

    Args:
        judged: Of each exam the kind of validation, the pattern of each case [n], and Joint@K [G, n].

    Returns:
        [G].
    """
    kinds: dict[Split, list[np.ndarray]] = {}
    for split, patterns, joint in judged:
        kinds.setdefault(split, []).extend(pattern_means(joint, patterns).T)
    return np.mean([np.mean(means, 0) for means in kinds.values()], 0)


def pattern_means(joint: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """The mean over the cases of each pattern: [G, n] -> [G, P], patterns in ascending order."""
    return np.stack([joint[:, patterns == pattern].mean(1) for pattern in np.unique(patterns)], 1)


def choose_share(by_share: Mapping[Split, np.ndarray], patterns: Mapping[Split, np.ndarray]) -> float:
    """The share nearest to the middle that is not clearly worse than the best.

    Of shares whose mean over patterns lies within one standard error of the difference to the best one (Breiman et al.
    1984, section 3.4.3), the one nearest to `MIDDLE` is taken, and of two equally near ones the smaller. A few patterns
    say little about the share, and the mean of two queries that err apart is better than either.

    Args:
        by_share: Kind of validation -> Joint@K at each of `SHARES` [S, n].
        patterns: Kind of validation -> pattern of each case [n].
    """
    means = [pattern_means(joint, patterns[split]) for split, joint in by_share.items()]
    # Both kinds weigh the same: a network that memorises its patterns gains on items and loses on patterns.
    mean = np.mean([each.mean(1) for each in means], 0)
    best = int(mean.argmax())
    error = standard_error([each[best] - each for each in means])
    near = [place for place in range(len(SHARES)) if mean[best] - mean[place] <= error[place]]
    return min((SHARES[place] for place in near), key=lambda share: (round(abs(share - MIDDLE), 9), share))


def standard_error(differences: Sequence[np.ndarray]) -> np.ndarray:
    """The standard error of the mean over kinds of the mean over patterns, [S].

    Args:
        differences: Of each kind of validation, [S, P] over its patterns. One pattern alone does not tell: infinite.
    """
    unknown = np.full(len(differences[0]), np.inf)
    variances = [each.var(1, ddof=1) / each.shape[1] if each.shape[1] > 1 else unknown for each in differences]
    return np.sqrt(np.sum(variances, 0)) / len(differences)


def voters(joint: np.ndarray) -> tuple[list[Move], list[float]]:
    """The moves that vote, the heaviest first, and their weights.

    Args:
        joint: Mean Joint@K over patterns of every move of `MOVES`, in [0, 1].
    """
    weight = np.exp((joint - joint.max()) / TEMPERATURE)
    order = np.argsort(-weight, kind="stable")[:VOTERS]
    kept = weight[order] / weight[order].sum()
    return [MOVES[number] for number in order], kept.tolist()
