"""The readout: what is served is a vote of moves that start from the seeds and from the network's query.

A *move* is a blend of the seeds' means plus one step along a direction of the domain. The network's query, which has
learnt where to go from the seeds, takes a share of its place. A *local* move then goes along the evidence too: what the
known verdicts near the seeds say. A *vote* is the mean of many moves, each weighted by what it reached on validation.
With a share of 0 the network is not run at all (docs/adr/0043, docs/adr/0046).

Shape legend: B cases, V moves, d width of an embedding, S = 3 steps, E = 4 evidence directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modit.model.axes import AXES, Geometry, case_axes
from modit.model.flow import normalize

READOUT_FILE = "readout.json"
BLENDS = ("mean", "mean + best", "best", "mean + whitened", "whitened", "best + whitened")
STEPS = ("density", "attribute", "both")
# What known verdicts near the seeds say: nearest positives minus nearest negatives of so many, and a local probe.
EVIDENCE = ("10", "30", "100", "probe")
# Share of the seeds, those of highest predicted density, whose mean is `best`.
BEST_SHARE = 1 / 3


class Move(NamedTuple):
    """A move from the seeds.

    Attributes:
        blend: One of `BLENDS`.
        step: One of `STEPS`: along the density, along the attribute, or between both.
        length: Of the step; 0 takes none.
        evidence: One of `EVIDENCE`.
        evidence_weight: Of the evidence; 0 takes none, which is a fixed move.
    """

    blend: str
    step: str
    length: float
    evidence: str = EVIDENCE[0]
    evidence_weight: float = 0.0


LENGTHS = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0)
# Every blend as it is, and with every step of every length.
FIXED_MOVES = tuple(Move(blend, STEPS[0], 0.0) for blend in BLENDS) + tuple(
    Move(blend, step, length) for blend in BLENDS for step in STEPS for length in LENGTHS
)
_LOCAL_STEPS = ((STEPS[0], 0.0),) + tuple((step, length) for step in STEPS[:2] for length in (0.3, 0.6, 1.0))
LOCAL_MOVES = tuple(
    Move(blend, step, length, evidence, weight)
    for blend in BLENDS
    for step, length in _LOCAL_STEPS
    for evidence in EVIDENCE
    for weight in (0.3, 0.6, 1.0, 1.5, 2.5)
)
MOVES = FIXED_MOVES + LOCAL_MOVES


class Readout(NamedTuple):
    """A vote, and the network's share in it.

    Attributes:
        share: Of the network's query in place of a move's blend and step, in [0, 1].
        blends: Number of each move's blend, int64 [V].
        lengths: Of each move along each of `STEPS` [V, S].
        steps: What these make in the domain's geometry [V, d].
        evidence: Weight of each evidence direction in each move [V, E].
        weights: Of the moves, [V], summing to 1.
    """

    share: Tensor
    blends: Tensor
    lengths: Tensor
    steps: Tensor
    evidence: Tensor
    weights: Tensor

    @classmethod
    def of(cls, share: float, moves: Sequence[Move], weights: Sequence[float], geometry: Geometry) -> Readout:
        """A readout of moves by name.

        Args:
            share: Of the network's query in place of a move's blend and step, in [0, 1].
            moves: V of them, at least one.
            weights: Of the moves, [V].
            geometry: Of the domain.
        """
        lengths = torch.tensor([[move.length * (move.step == name) for name in STEPS] for move in moves]).float()
        total = torch.tensor(list(weights), dtype=torch.float32)
        return cls(
            torch.tensor(share, dtype=torch.float32),
            torch.tensor([BLENDS.index(move.blend) for move in moves]),
            lengths,
            lengths @ step_directions(geometry),
            torch.tensor([[move.evidence_weight * (move.evidence == name) for name in EVIDENCE] for move in moves]),
            total / total.sum(),
        )

    @property
    def uses_network(self) -> bool:
        """Whether the network has to be run."""
        return float(self.share) > 0

    @property
    def uses_evidence(self) -> bool:
        """Whether known verdicts near the seeds have to be looked up."""
        return bool(self.evidence.any())


def step_directions(geometry: Geometry) -> Tensor:
    """The unit directions of `STEPS`, [3, d]."""
    return torch.stack([geometry.density, geometry.attribute, normalize(geometry.density + geometry.attribute)])


def seed_blends(ordered: Tensor, lengths: Tensor, geometry: Geometry) -> Tensor:
    """The unit blends of each case's seeds, in the order of `BLENDS`.

    Args:
        ordered: Unit seeds [B, M, d] in ascending predicted density, valid ones first, padding zero.
        lengths: How many are valid [B].
        geometry: Of the domain.

    Returns:
        [B, 6, d].
    """
    axes = case_axes(ordered, lengths, geometry)
    mean, whitened = axes[:, AXES.index("frame")], axes[:, AXES.index("whitened_frame")]
    kept = torch.clamp(torch.round(BEST_SHARE * lengths), min=1)[:, None]
    place = torch.arange(ordered.shape[1], device=ordered.device)[None]
    among_best = (place >= lengths[:, None] - kept) & (place < lengths[:, None])
    best = normalize((ordered * among_best[..., None]).sum(1))
    blends = (mean, mean + best, best, mean + whitened, whitened, best + whitened)
    return normalize(torch.stack(blends, 1))


def vote(blends: Tensor, readout: Readout, evidence: Tensor | None = None, network: Tensor | None = None) -> Tensor:
    """The unit vote of a readout's moves.

    A move of blend b, step s, evidence weights w, with share a of the network's query q and evidence E, is
    a |b + s| q + (1 - a) (b + s) + w E, and the vote is the unit weighted mean of the unit moves.

    Args:
        blends: Of each case's seeds, unit [B, 6, d].
        readout: V moves.
        evidence: Directions of each case [B, E, d]; None where none is known, as zeros.
        network: The network's unit queries [B, d]; None leaves it out, as a share of 0 does.

    Returns:
        [B, d].
    """
    moved = torch.index_select(blends, 1, readout.blends) + readout.steps
    if network is not None:
        length = torch.sqrt((moved * moved).sum(-1, keepdim=True))
        moved = readout.share * length * network[:, None] + (1 - readout.share) * moved
    if evidence is not None:
        moved = moved + readout.evidence @ evidence
    return normalize((normalize(moved) * readout.weights[:, None]).sum(1))


def readout_json(share: float, moves: Sequence[Move], weights: Sequence[float]) -> dict[str, Any]:
    """The share, and the moves with their weights, for JSON."""
    voted = [move._asdict() | {"weight": round(weight, 6)} for move, weight in zip(moves, weights, strict=True)]
    return {"share": share, "moves": voted}


def readout_of_json(content: dict[str, Any], geometry: Geometry) -> Readout:
    """Reads what `readout_json` made.

    Raises:
        ValueError: A name is none of `BLENDS`, `STEPS` or `EVIDENCE`.
    """
    moves = [Move(**{name: entry[name] for name in Move._fields if name in entry}) for entry in content["moves"]]
    for move in moves:
        if move.blend not in BLENDS or move.step not in STEPS or move.evidence not in EVIDENCE:
            raise ValueError(f"move {move} is not known; allowed: blends {BLENDS}, steps {STEPS}, evidence {EVIDENCE}")
    return Readout.of(content["share"], moves, [entry["weight"] for entry in content["moves"]], geometry)
