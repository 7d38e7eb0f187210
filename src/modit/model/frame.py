"""The frame of the seeds: the model reads offsets from the seeds' mean, not places in the space (docs/adr/0003).

With a unit frame vector mu, x in R^d becomes [x - <mu, x> mu, <mu, x>] in R^(d+1): the tangent offset at mu and the
cosine to it. The map is a linear isometry, so path, velocity and loss stay in R^d unchanged. The zero frame keeps x as
it is (the paper's absolute coordinates).
"""

from __future__ import annotations

import torch
from torch import Tensor

from modit.model.flow import normalize


def frame_of(seeds: Tensor, lengths: Tensor) -> Tensor:
    """Unit mean of the first `lengths` [B] seeds of each row [B, M, d] -> [B, d]."""
    used = torch.arange(seeds.shape[1], device=seeds.device) < lengths[:, None]
    return normalize((seeds * used[..., None]).sum(1))


def to_frame(x: Tensor, frame: Tensor) -> Tensor:
    """Coordinates of x [B, T, d] in frames [B, d] -> [B, T, d + 1]."""
    along = (x * frame[:, None]).sum(-1, keepdim=True)
    return torch.cat([x - along * frame[:, None], along], -1)


def from_frame(y: Tensor, frame: Tensor) -> Tensor:
    """The adjoint of `to_frame` [B, T, d + 1] -> [B, T, d]; its inverse on the image."""
    offset, along = y[..., :-1], y[..., -1:]
    axis = frame[:, None]
    return offset - (offset * axis).sum(-1, keepdim=True) * axis + along * axis
