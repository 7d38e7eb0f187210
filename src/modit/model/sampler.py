"""From seeds to a query vector: order them, encode once, integrate the flow with guidance (specification section 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modit.model.axes import Geometry, case_axes
from modit.model.dit import ConditionCache, MODiT, Visibility, query_visibility
from modit.model.flow import euler_step, normalize, sample_noise
from modit.model.readout import Readout, seed_blends, vote

# More cases are taken in turns, which bounds the memory.
CASES_AT_ONCE = 256


def tie_direction(dimension: int) -> Tensor:
    """Fixed weights [d] that tell seeds of equal predicted density apart.

    Their product with a seed depends on all of its coordinates, so the content of the seeds decides their order, and
    never the order in which a caller names them. In an exported graph the weights are a constant.
    """
    return torch.tensor([math.cos(number * number) for number in range(1, dimension + 1)])


def sort_seeds(seeds: Tensor, mask: Tensor, density_direction: Tensor) -> tuple[Tensor, Tensor]:
    """Moves valid seeds to the front, in ascending predicted density; ties are ordered by the seeds' content.

    The predictor is affine, so its direction is enough to order by. A direction of zeros ties all seeds.

    Args:
        seeds: [B, M, d].
        mask: True for valid seeds [B, M].
        density_direction: weights of the density predictor [d].

    Returns:
        The ordered seeds [B, M, d], padding last and zeroed, and the number of valid ones [B].
    """
    ordered = seeds * mask[..., None]
    for direction in (tie_direction(seeds.shape[-1]).to(seeds), density_direction):
        score = (ordered @ direction).masked_fill(~mask, float("inf"))
        order = torch.argsort(score, dim=1, stable=True)
        ordered, mask = torch.gather(ordered, 1, order[..., None].expand_as(ordered)), mask.gather(1, order)
    return ordered, mask.sum(1)


def blends_of_seeds(seeds: Tensor, mask: Tensor, geometry: Geometry) -> Tensor:
    """The unit blends of seeds [B, M, d] in any order, where `mask` [B, M] says that they are, [B, 6, d]."""
    return seed_blends(*sort_seeds(normalize(seeds), mask, geometry.density), geometry)


def guided_visibility(cache: ConditionCache, count: int) -> Visibility:
    """`count` queries of each row that see all its seeds, then as many that see BOS alone."""
    device = cache.lengths.device
    unconditional = torch.arange(2 * count, device=device).ge(count).expand(cache.lengths.shape[0], -1)
    return query_visibility(cache, 2 * count, unconditional)


def guided_velocity(
    model: MODiT, z: Tensor, time: Tensor, cache: ConditionCache, visibility: Visibility, guidance: Tensor
) -> Tensor:
    """Classifier-free guidance v_null + s (v_cond - v_null) of z [B, R, d] at one time [1, 1], scales s [B, R]."""
    velocity = model.velocity(torch.cat([z, z], 1), time, cache, visibility)
    conditional, null = velocity.split(z.shape[1], dim=1)
    return null + guidance.unsqueeze(-1) * (conditional - null)


def sample_queries(
    model: MODiT,
    seeds: Tensor,
    lengths: Tensor,
    geometry: Geometry,
    noise: Tensor,
    guidance: Tensor,
    steps: int,
) -> Tensor:
    """Integrates dz = v dt from noise to queries with classifier-free guidance v_null + s (v_cond - v_null).

    Args:
        model: the velocity field.
        seeds: unit embeddings [B, M, d] in the model's order, valid ones first.
        lengths: number of valid seeds [B].
        geometry: of the domain.
        noise: unit vectors [B, R, d], one for each query wanted.
        guidance: scale s of each query [B, R]; 1 is purely conditional.
        steps: number of integration steps, at least 1.

    Returns:
        Unit queries [B, R, d].
    """
    cache = model.encode(seeds, lengths, case_axes(seeds, lengths, geometry))
    visibility = guided_visibility(cache, noise.shape[1])
    z = normalize(noise)
    for index in range(steps):
        # One time for all rows: its embedding and the modulations are computed once, not for every query.
        time = noise.new_full((1, 1), index / steps)
        z = euler_step(z, guided_velocity(model, z, time, cache, visibility, guidance), 1.0 / steps)
    return z


def noise_companions(noise: Tensor, count: int) -> Tensor:
    """Noise [B, d] and count - 1 reflections and cyclic shifts of it [B, count, d]: one input, several samples.

    The mean of samples is nearer to the centre of the target's distribution than any one of them (docs/adr/0006), and
    antithetic pairs (z, -z) cancel first.
    """
    shifts = [torch.roll(noise, (index // 2) * (noise.shape[-1] // count), -1) for index in range(count)]
    return torch.stack([shift if index % 2 == 0 else -shift for index, shift in enumerate(shifts)], 1)


class Sampler(nn.Module):
    """Maps seeds in any order and number to one unit query; validation, evaluation, export and service use it alike."""

    def __init__(
        self, model: MODiT, geometry: Geometry, steps: int, samples: int, readout: Readout | None = None
    ) -> None:
        """Keeps geometry and readout as buffers, so that they are exported with the model.

        Args:
            model: the velocity field.
            geometry: of the domain; its density direction orders the seeds.
            steps: Euler steps.
            samples: how many samples are averaged into a query.
            readout: the vote that is served; None takes the network's query as it is.
        """
        super().__init__()
        self.model, self.steps, self.samples = model, steps, samples
        self.votes = readout is not None
        self.uses_network = readout is None or readout.uses_network
        self.uses_evidence = readout is not None and readout.uses_evidence
        for name, part in geometry._asdict().items():
            self.register_buffer(name, part)
        for name, part in readout._asdict().items() if readout else ():
            self.register_buffer(f"readout_{name}", part)

    @property
    def geometry(self) -> Geometry:
        """Of the domain."""
        return Geometry(*(self.get_buffer(name) for name in Geometry._fields))

    @property
    def readout(self) -> Readout:
        """The vote that is served."""
        return Readout(*(self.get_buffer(f"readout_{name}") for name in Readout._fields))

    def forward(
        self, seeds: Tensor, mask: Tensor, noise: Tensor, guidance: Tensor, evidence: Tensor | None = None
    ) -> Tensor:
        """One query for each row.

        Args:
            seeds: embeddings [B, M, d], of any length.
            mask: True for valid seeds [B, M]; at least one a row.
            noise: [B, d], of any length.
            guidance: scale, [] or [B].
            evidence: directions of the known verdicts near the seeds [B, E, d]; None: none is known.

        Returns:
            Unit queries [B, d].
        """
        return self.fan(seeds, mask, noise, guidance.expand(noise.shape[0])[:, None], evidence)[:, 0]

    def fan(
        self, seeds: Tensor, mask: Tensor, noise: Tensor, guidance: Tensor, evidence: Tensor | None = None
    ) -> Tensor:
        """Queries at several guidance scales [B, G] from the same noise [B, d] -> [B, G, d]."""
        ordered, lengths = sort_seeds(normalize(seeds), mask, self.geometry.density)
        if not self.votes:
            return self._network(ordered, lengths, noise, guidance)
        blends = seed_blends(ordered, lengths, self.geometry)
        if not self.uses_network:
            return vote(blends, self.readout, evidence)[:, None].expand(-1, guidance.shape[1], -1)
        network = self._network(ordered, lengths, noise, guidance)
        return torch.stack([vote(blends, self.readout, evidence, queries) for queries in network.unbind(1)], 1)

    def _network(self, ordered: Tensor, lengths: Tensor, noise: Tensor, guidance: Tensor) -> Tensor:
        """The network's own queries at scales [B, G] -> [B, G, d]."""
        start = noise_companions(noise, self.samples).repeat(1, guidance.shape[1], 1)
        scales = guidance.repeat_interleave(self.samples, 1)
        samples = sample_queries(self.model, ordered, lengths, self.geometry, start, scales, self.steps)
        return normalize(samples.unflatten(1, (guidance.shape[1], self.samples)).mean(2))


@torch.no_grad()
def generate_queries(
    sampler: Sampler,
    embeddings: Tensor,
    seeds: Tensor,
    guidance: Sequence[float],
    seed: int,
    batch: int = CASES_AT_ONCE,
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
