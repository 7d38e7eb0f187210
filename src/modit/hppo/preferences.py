"""Preference pairs from labelled candidates, and the loss over them (Algorithm 2, Eqs. 11-14)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modit.hppo.params import HPPOParams
from modit.model.axes import Geometry, case_axes
from modit.model.dit import MODiT, query_visibility
from modit.model.flow import flow_matching_loss, geodesic, sample_noise, sample_time
from modit.training.loop import Batch
from modit.training.stages import draw_rotations


class Pairs(NamedTuple):
    """Kept pairs.

    Attributes:
        case: row of the case of each pair [P].
        winner: candidate number of q+ [P].
        loser: candidate number of q- [P].
    """

    case: np.ndarray
    winner: np.ndarray
    loser: np.ndarray


def shrink_to_kind(joint: np.ndarray, case_weight: float) -> np.ndarray:
    """Pulls each candidate's Joint to the mean of its kind over all cases (docs/adr/0005).

    A list of K items measures one candidate with an error of about sqrt(J(1-J)/K), so the best of many is mostly luck;
    what a kind of move does on average is known well.

    Args:
        joint: [n, p]; column j is the same kind of candidate in every case.
        case_weight: share of the case's own deviation that is kept, in [0, 1]; 1 keeps all (the paper).
    """
    kind = joint.mean(0)
    return kind + case_weight * (joint - kind)


def build_pairs(
    joint: np.ndarray, same: np.ndarray, margin: float, tolerance: float | None, served: int | None = None
) -> Pairs:
    """Pairs the best candidate of each case with the clearly worse ones.

    Algorithm 2's gate lets a case take part only if its best Joint leads the second best by `margin`. With `served`
    given, the best must lead what the policy serves today, and where it does not, the served query is the winner
    (docs/adr/0005): with many candidates the best two are always close, and a case that cannot be improved says "stay".

    A pair is kept if its gap is at least `margin` and, with a filter, the winner's Same is at least the loser's less
    `tolerance`. With both, only candidates whose Same is at least the served query's less `tolerance` can win: the
    policy must not buy attributes with pattern fidelity.

    Args:
        joint: Joint@K of each candidate [n, p].
        same: Same@K [n, p].
        margin: delta, in (0, 1).
        tolerance: epsilon of the Pareto filter; 0 is strict, None is no filter.
        served: number of the candidate that the policy serves, or None for the paper's gate.
    """
    slack = 1e-9  # shares are multiples of 1/K: a gap of exactly delta passes
    cases = np.arange(len(joint))
    eligible = np.ones_like(joint, bool)
    if served is not None and tolerance is not None:
        eligible = same >= same[:, served, None] - tolerance - slack
    winner = np.where(eligible, joint + slack * same, -np.inf).argmax(1)
    to_beat = np.sort(joint, 1)[:, -2] if served is None else joint[:, served]
    clear = joint[cases, winner] - to_beat >= margin - slack
    if served is not None:
        winner = np.where(clear, winner, served)
        clear = np.ones_like(clear)
    keep = clear[:, None] & (joint[cases, winner][:, None] - joint >= margin - slack)
    if tolerance is not None:
        keep &= same[cases, winner][:, None] >= same - tolerance - slack
    case, loser = np.nonzero(keep)
    return Pairs(case, winner[case], loser)


@dataclass(frozen=True)
class PairData:
    """Pairs as tensors. P pairs over n cases.

    Attributes:
        seeds: unit embeddings of each case [n, m, d], valid first.
        lengths: number of valid seeds [n].
        case: the case of each pair [P].
        winners: unit [P, d].
        losers: unit [P, d].
        anchors: unit target of the anchor of each pair [P, d]; None where it is the winner.
    """

    seeds: Tensor
    lengths: Tensor
    case: Tensor
    winners: Tensor
    losers: Tensor
    anchors: Tensor | None


class PreferenceStage:
    """HPPO's loss over pairs. Winner, loser, anchor, policy and reference share the same draws of (time, noise)."""

    def __init__(self, name: str, data: PairData, reference: MODiT, params: HPPOParams, geometry: Geometry) -> None:
        """Freezes a copy of the reference.

        Args:
            name: of the stage, round included.
            data: the pairs.
            reference: the SFT model, the same in every round; it is not changed.
            params: section `hppo`; L_FM is summed over d, so logits are of order beta.
            geometry: of the domain.
        """
        self.name, self.data = name, data
        self.reference = copy.deepcopy(reference).eval().requires_grad_(False)
        self.params, self.geometry = params, geometry

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Pairs with their cases and shared draws."""
        chosen = torch.randint(len(self.data.case), (size,), generator=generator)
        case = self.data.case[chosen]
        parts = [part for part in (self.data.winners, self.data.losers, self.data.anchors) if part is not None]
        targets = torch.stack([part[chosen] for part in parts], 1)
        rotation = draw_rotations(targets.shape[-1], size, self.params.rotate, generator)
        seeds, lengths = self.data.seeds[case], self.data.lengths[case]
        return {
            "seeds": seeds @ rotation,
            "lengths": lengths,
            "targets": targets @ rotation,
            "axes": case_axes(seeds, lengths, self.geometry) @ rotation,
            "noise": sample_noise((size, self.params.draws, self.data.seeds.shape[-1]), generator),
            "time": sample_time((size, self.params.draws), generator),
        }

    def scores(self, model: MODiT, batch: Batch) -> Tensor:
        """L_FM of winner, loser and an anchor of its own if any, mean over the draws [b, 2 or 3]; none is dropped."""
        count = batch["targets"].shape[1]
        targets = batch["targets"].repeat_interleave(self.params.draws, 1)
        time, noise = batch["time"].repeat(1, count), batch["noise"].repeat(1, count, 1)
        point = geodesic(noise, targets, time)
        cache = model.encode(batch["seeds"], batch["lengths"], batch["axes"])
        predicted = model.velocity(point.position, time, cache, query_visibility(cache, time.shape[1]))
        loss = flow_matching_loss(predicted, point, time, self.params.curvature)
        return loss.unflatten(1, (count, self.params.draws)).mean(2)

    def loss(self, model: MODiT, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """L_pref + lambda L_anchor of each pair, with s = -L_FM."""
        winner, loser, *anchors = self.scores(model, batch).unbind(1)
        anchor = anchors[0] if anchors else winner
        with torch.no_grad():
            self.reference.to(winner.device)
            reference_winner, reference_loser, *_ = self.scores(self.reference, batch).unbind(1)
        logit = self.params.beta * ((reference_winner - winner) - (reference_loser - loser))
        preference = -F.logsigmoid(logit)
        figures = {
            "preference": preference,
            "anchor": anchor,
            "absolute_logit": logit.abs(),
            "accuracy": (logit > 0).float(),
        }
        return preference + self.params.anchor_weight * anchor, figures
