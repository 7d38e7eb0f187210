"""Weights on the line between two models, scored on validation cases (Wortsman et al. 2022, arXiv 2109.01903).

A stage that goes too far on one kind of case is often right in direction; weights in between keep what both agree on.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from modit.hppo.validation import ValidationScore, Validator
from modit.model.dit import MODiT


class Blend(NamedTuple):
    """A point on the line.

    Attributes:
        share: 0 is the model before a stage, 1 the model after it.
        model: the weights there.
        score: of them.
    """

    share: float
    model: MODiT
    score: ValidationScore

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the weights."""
        return {"share": self.share, **self.score.as_dict()}


def score_blends(before: MODiT, after: MODiT, shares: Sequence[float], validator: Validator) -> list[Blend]:
    """Scores the weights at every share.

    Args:
        before: the model before a stage.
        after: the model after it.
        shares: in [0, 1]; the order is kept.
        validator: of the domain.
    """
    blends = [(share, interpolate(before, after, share)) for share in shares]
    return [Blend(share, model, validator.score(model)) for share, model in blends]


def interpolate(before: MODiT, after: MODiT, share: float) -> MODiT:
    """Weights (1 - share) before + share after."""
    blend = copy.deepcopy(after)
    old = before.state_dict()
    blend.load_state_dict({name: old[name] + share * (value - old[name]) for name, value in after.state_dict().items()})
    return blend
