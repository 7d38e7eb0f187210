"""The axes of a case: the directions that a model reads its seeds along and may write along (docs/adr/0003, 0011).

A case brings four unit vectors: its *frame* (the mean of its seeds), the *whitened frame* (the same mean as a linear
discriminant sees it), the direction of predicted density and the attribute's direction. Tokens are offsets from the
frame with coordinates along the axes, so a model reads relations, not places. All axes are rotation-equivariant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from modit.model.flow import normalize

AXES = ("frame", "whitened_frame", "density", "attribute")


class Geometry(NamedTuple):
    """What a domain knows of its space.

    Attributes:
        density: unit direction of predicted density [d]; zeros for none.
        attribute: unit direction of the attribute probe [d]; zeros for none.
        mean: mean embedding of the catalogue [d].
        whitening: regularised inverse covariance [d, d]; zeros for none.
    """

    density: Tensor
    attribute: Tensor
    mean: Tensor
    whitening: Tensor

    @classmethod
    def of(cls, fitted: Any) -> Geometry:
        """The same as tensors.

        Args:
            fitted: has these fields as float32 arrays, as `modit.metric.predictor.DomainGeometry` does.
        """
        return cls(*(torch.from_numpy(getattr(fitted, name)) for name in cls._fields))

    @classmethod
    def blank(cls, dimension: int) -> Geometry:
        """The geometry of sequences that no domain orders: their frame is the only axis."""
        zeros = torch.zeros(dimension)
        return cls(zeros, zeros, zeros, torch.zeros(dimension, dimension))


def frame_of(seeds: Tensor, lengths: Tensor) -> Tensor:
    """Unit mean of the first `lengths` [B] seeds of each row [B, M, d] -> [B, d]."""
    used = torch.arange(seeds.shape[1], device=seeds.device) < lengths[:, None]
    return normalize((seeds * used[..., None]).sum(1))


def case_axes(seeds: Tensor, lengths: Tensor, geometry: Geometry) -> Tensor:
    """The axes of each case.

    The whitened frame is S^-1 (frame - mean): the query that a linear discriminant would use to tell the seeds from the
    rest of the catalogue (exemplar LDA; Hariharan, Malik & Ramanan 2012).

    Args:
        seeds: unit embeddings [B, M, d], valid ones first.
        lengths: how many of them make the frame [B].
        geometry: of the domain.

    Returns:
        Unit vectors [B, 4, d] in the order of `AXES`; zero where the geometry has none.
    """
    frame = frame_of(seeds, lengths)
    whitened = normalize(((frame - geometry.mean).unsqueeze(-2) @ geometry.whitening).squeeze(-2))
    return torch.stack([frame, whitened, geometry.density.expand_as(frame), geometry.attribute.expand_as(frame)], 1)


def to_axes(x: Tensor, axes: Tensor) -> Tensor:
    """Reads x [B, T, d] along axes [B, A, d]: offset at the frame, then coordinates [B, T, d + A]."""
    along = x @ axes.transpose(-1, -2)
    return torch.cat([x - along[..., :1] * axes[:, :1], along], -1)


def from_frame(y: Tensor, frame: Tensor) -> Tensor:
    """Writes offsets at the frame [B, d] and a coordinate along it: [B, T, d + 1] -> [B, T, d]."""
    offset, along = y[..., :-1], y[..., -1:]
    axis = frame[:, None]
    return offset - (offset * axis).sum(-1, keepdim=True) * axis + along * axis


def gram(axes: Tensor) -> Tensor:
    """Cosines between the axes of each case [B, A, d] -> [B, A (A - 1) / 2]."""
    rows, columns = torch.triu_indices(axes.shape[1], axes.shape[1], offset=1, device=axes.device)
    return (axes[:, rows] * axes[:, columns]).sum(-1)
