"""Spherical flow matching: the path from noise to target, its velocity, and the loss (specification section 3).

Time runs from t=0 (noise) to t=1 (target), as in the MO-DiT paper. Shapes: d is the width of an embedding.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

CurvatureWeight = Literal["none", "remaining", "travelled"]
_MAX_COSINE = 1.0 - 1e-6
_TIME_MARGIN = 1e-3


class PathPoint(NamedTuple):
    """A point of the geodesic and what the network should say there.

    Attributes:
        position: z_t, unit vectors [..., d].
        velocity: dz_t/dt, tangent to z_t, of length `angle` [..., d].
        angle: Omega, the angle between noise and target in radians [...].
    """

    position: Tensor
    velocity: Tensor
    angle: Tensor


def normalize(x: Tensor) -> Tensor:
    """Scales vectors [..., d] to unit length."""
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-12)


def project_to_tangent(vector: Tensor, position: Tensor) -> Tensor:
    """Removes from `vector` [..., d] its part along the unit `position` [..., d]."""
    return vector - (vector * position).sum(-1, keepdim=True) * position


def geodesic(noise: Tensor, target: Tensor, time: Tensor) -> PathPoint:
    """The great circle from `noise` to `target` at `time` (slerp; Chen & Lipman 2024, specification section 3).

    Args:
        noise: unit vectors [..., d].
        target: unit vectors [..., d].
        time: [...] in [0, 1].
    """
    angle = torch.acos((noise * target).sum(-1).clamp(-_MAX_COSINE, _MAX_COSINE))
    omega, t = angle.unsqueeze(-1), time.unsqueeze(-1)
    sine = torch.sin(omega)
    position = (torch.sin((1 - t) * omega) * noise + torch.sin(t * omega) * target) / sine
    velocity = omega * (torch.cos(t * omega) * target - torch.cos((1 - t) * omega) * noise) / sine
    return PathPoint(position, velocity, angle)


def curvature_weight(time: Tensor, angle: Tensor, kind: CurvatureWeight) -> Tensor:
    """Jacobi weight sinc^2 of the angle remaining to the target (or travelled from the noise); 1 for `none`.

    A velocity error across the path at time t moves the end of the path by (1-t) sinc((1-t) Omega) times the error.
    The weight is the curvature part of that factor, squared (Kumar & Patel, arXiv 2602.10099, in the paper's time
    direction).
    """
    if kind == "none":
        return torch.ones_like(time)
    fraction = 1 - time if kind == "remaining" else time
    return torch.sinc(fraction * angle / math.pi) ** 2


def flow_matching_loss(
    predicted: Tensor, point: PathPoint, time: Tensor, kind: CurvatureWeight = "remaining"
) -> Tensor:
    """L_FM of Eq. 6: squared error of the tangent velocity, summed over d, with the curvature weight.

    Args:
        predicted: the network's velocity [..., d]; projected to the tangent plane here.
        point: the path at `time`.
        time: [...] in [0, 1].
        kind: which curvature weight.

    Returns:
        The loss of each position [...], not reduced: the paper's beta and anchor weight assume the sum over d.
    """
    error = project_to_tangent(predicted, point.position) - point.velocity
    return curvature_weight(time, point.angle, kind) * error.square().sum(-1)


def sample_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform unit vectors: N(0, I) projected to the sphere."""
    return normalize(torch.randn(shape, generator=generator))


def sample_time(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Logit-normal(0, 1) times in [0.001, 0.999] (Esser et al. 2024)."""
    return torch.sigmoid(torch.randn(shape, generator=generator)).clamp(_TIME_MARGIN, 1 - _TIME_MARGIN)


def euler_step(position: Tensor, velocity: Tensor, step: float) -> Tensor:
    """One Euler step of dz = v dt followed by renormalisation to the sphere (specification section 7)."""
    return normalize(position + step * project_to_tangent(velocity, position))
