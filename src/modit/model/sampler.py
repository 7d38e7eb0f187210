"""From seeds to a query vector: order the seeds, encode once, integrate the flow with guidance (specification section 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from modit.model.dit import MODiT, query_visibility
from modit.model.flow import euler_step, normalize, sample_noise
from modit.model.frame import frame_of

StepRule = Callable[[Tensor, Tensor, float], Tensor]


def sort_seeds(seeds: Tensor, mask: Tensor, density_direction: Tensor | None) -> tuple[Tensor, Tensor]:
    """Moves valid seeds to the front, in ascending predicted density; stable.

    The predictor is affine, so its direction is enough to order by. Without a direction the caller's order is kept.

    Args:
        seeds: [B, M, d].
        mask: True for valid seeds [B, M].
        density_direction: weights of the density predictor [d], or None.

    Returns:
        The ordered seeds [B, M, d], padding last and zeroed, and the number of valid ones [B].
    """
    score = torch.zeros_like(seeds[..., 0]) if density_direction is None else seeds @ density_direction
    order = torch.argsort(score.masked_fill(~mask, float("inf")), dim=1, stable=True)
    ordered = torch.gather(seeds * mask[..., None], 1, order[..., None].expand_as(seeds))
    return ordered, mask.sum(1)


def sample_queries(
    model: MODiT,
    seeds: Tensor,
    lengths: Tensor,
    noise: Tensor,
    guidance: Tensor,
    steps: int,
    rule: StepRule = euler_step,
) -> Tensor:
    """Integrates dz = v dt from noise to queries with classifier-free guidance v_null + s (v_cond - v_null).

    Args:
        model: the velocity field.
        seeds: unit embeddings [B, M, d] in the model's order, valid ones first.
        lengths: number of valid seeds [B].
        noise: unit vectors [B, R, d], one for each query wanted.
        guidance: scale s of each query [B, R]; 1 is purely conditional.
        steps: number of integration steps, at least 1.
        rule: how a step moves on the sphere.

    Returns:
        Unit queries [B, R, d].
    """
    cache = model.encode(seeds, lengths, frame_of(seeds, lengths))
    batch, count = noise.shape[:2]
    unconditional = torch.arange(2 * count, device=noise.device).ge(count).expand(batch, -1)
    visibility = query_visibility(cache, 2 * count, unconditional)
    z = normalize(noise)
    scale = guidance.unsqueeze(-1)
    for index in range(steps):
        time = torch.full_like(noise[..., 0], index / steps)
        velocity = model.velocity(torch.cat([z, z], 1), torch.cat([time, time], 1), cache, visibility)
        conditional, null = velocity.split(count, dim=1)
        z = rule(z, null + scale * (conditional - null), 1.0 / steps)
    return z


class Sampler(nn.Module):
    """Seeds in any order and number to one unit query: what is validated, judged, exported and served."""

    def __init__(self, model: MODiT, density_direction: Tensor, steps: int) -> None:
        """Args: the velocity field, the density predictor's weights [d] that order the seeds, and the Euler steps."""
        super().__init__()
        self.model, self.steps = model, steps
        self.register_buffer("density_direction", density_direction)

    def forward(self, seeds: Tensor, mask: Tensor, noise: Tensor, guidance: Tensor) -> Tensor:
        """One query for each row.

        Args:
            seeds: embeddings [B, M, d], of any length.
            mask: True for valid seeds [B, M]; at least one a row.
            noise: [B, d], of any length.
            guidance: scale, [] or [B].

        Returns:
            Unit queries [B, d].
        """
        return self.fan(seeds, mask, noise, guidance.expand(noise.shape[0])[:, None])[:, 0]

    def fan(self, seeds: Tensor, mask: Tensor, noise: Tensor, guidance: Tensor) -> Tensor:
        """Queries at several guidance scales [B, R] from the same noise [B, d] -> [B, R, d]."""
        ordered, lengths = sort_seeds(normalize(seeds), mask, self.density_direction)
        start = noise[:, None].expand(-1, guidance.shape[1], -1)
        return sample_queries(self.model, ordered, lengths, start, guidance, self.steps)


@torch.no_grad()
def generate_queries(
    sampler: Sampler, embeddings: Tensor, seeds: Tensor, guidance: Sequence[float], seed: int, batch: int = 256
) -> Tensor:
    """Runs the sampler over many cases; a case's noise depends on `seed` and its row alone, so models can be paired.

    Args:
        sampler: the generator.
        embeddings: the catalogue [N, d].
        seeds: catalogue rows of each case [n, M], padded with -1.
        guidance: the scales wanted, R of them.
        seed: of the noise.
        batch: cases at a time.

    Returns:
        Unit queries [n, R, d].
    """
    noise = sample_noise((len(seeds), embeddings.shape[1]), torch.Generator().manual_seed(seed))
    parts = []
    for start in range(0, len(seeds), batch):
        rows = seeds[start : start + batch]
        scales = torch.tensor(list(guidance), dtype=torch.float32).expand(len(rows), -1)
        parts.append(sampler.fan(embeddings[rows.clamp_min(0)], rows >= 0, noise[start : start + batch], scales))
    return torch.cat(parts)
