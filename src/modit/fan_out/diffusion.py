"""Diffusion over sets of query vectors: EDM (Karras et al., NeurIPS 2022) with cross-attention to the intent.

A set is L rows of d numbers without order: the denoiser is equivariant to their permutation, as it has no positions.
The data are unit vectors, so sigma_data is 1 / sqrt(d), and noise is counted in units of sigma_data. Rows are counted
from the vector of their intent, so that a network which says nothing yet answers with the intent.

Shape legend: B sets, L rows, d dimension, P condition tokens, H width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.fan_out.intents import Conditions
from modit.fan_out.params import SetDiffusionParams
from modit.fan_out.synthesis import SampledSets, shuffled
from modit.model.dit import Attention, DiTConfig, SwiGLU, TimeEmbedding, modulate
from modit.training.checkpoint import load_network
from modit.training.loop import Batch

MODEL_FILE = "model.pt"
RHO = 7.0  # of EDM's schedule of noise


@dataclass(frozen=True)
class DenoiserConfig:
    """Size of a denoiser.

    Attributes:
        dimension: d.
        rows: L.
        width: H.
        depth: blocks.
        heads: attention heads.
        dropout: on attention and MLP outputs.
    """

    dimension: int
    rows: int
    width: int = 128
    depth: int = 2
    heads: int = 4
    dropout: float = 0.0

    @property
    def sigma_data(self) -> float:
        """Standard deviation of a number of a unit vector."""
        return self.dimension**-0.5


class SetBlock(nn.Module):
    """Attention among the rows, attention to the condition, and an MLP; the noise modulates the first and last."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm_rows, self.norm_cross, self.norm_mlp = (nn.RMSNorm(config.width) for _ in range(3))
        self.rows, self.cross = Attention(config), Attention(config)
        self.mlp = SwiGLU(config.width, int(config.mlp_ratio * config.width))
        self.modulation = nn.Linear(config.width, 6 * config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """Rows [B, L, H], noise level [B, 1, H], condition [B, P, H], bool [B, P] -> [B, L, H]."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(noise).chunk(6, dim=-1)
        nowhere = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
        query, key, value = self.rows.project(modulate(self.norm_rows(x), shift_a, scale_a), nowhere)
        x = x + gate_a * self.dropout(self.rows.merge(F.scaled_dot_product_attention(query, key, value)))
        query, _, _ = self.cross.project(self.norm_cross(x), nowhere)
        _, key, value = self.cross.project(condition, nowhere)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None])
        x = x + self.dropout(self.cross.merge(attended))
        return x + gate_m * self.dropout(self.mlp(modulate(self.norm_mlp(x), shift_m, scale_m)))


class SetNetwork(nn.Module):
    """What maps rows to rows for an intent at a noise level: the raw network F of EDM."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        size = DiTConfig(config.dimension, config.width, config.depth, config.heads, dropout=config.dropout)
        self.embed = nn.Linear(config.dimension, config.width)
        self.condition = nn.Linear(config.dimension, config.width)
        self.nothing = nn.Parameter(torch.empty(config.width))  # the condition of a dropped intent, seen by all
        self.noise = TimeEmbedding(config.width)
        self.blocks = nn.ModuleList(SetBlock(size) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width)
        self.out = nn.Linear(config.width, config.dimension)
        nn.init.normal_(self.nothing, std=0.02)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, rows: Tensor, level: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """Rows [B, L, d] at noise levels [B] for intents of tokens [B, P, d], bool [B, P] -> [B, L, d]."""
        # the tokens are unit vectors: numbers of variance 1 train faster
        own = self.condition(tokens * tokens.shape[-1] ** 0.5)
        condition = torch.cat([self.nothing.expand(rows.shape[0], 1, -1), own], 1)
        valid = torch.cat([torch.ones_like(valid[:, :1]), valid], 1)
        x, noise = self.embed(rows), self.noise(level[:, None])
        for block in self.blocks:
            x = block(x, noise, condition, valid)
        return self.out(self.norm(x))


class Denoiser(nn.Module):
    """D(x; sigma, intent) = c + skip (x - c) + out F: EDM's preconditioning around the intent c, 0 if it is untold."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config, self.network = config, SetNetwork(config)

    def forward(self, noisy: Tensor, sigma: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """The expected clean rows [B, L, d].

        Args:
            noisy: rows with noise [B, L, d].
            sigma: its standard deviation [B], > 0.
            tokens: of the intents [B, P, d].
            valid: bool [B, P], false at padding; of an intent that is not told, everywhere.
        """
        centre = tokens[:, :1] * valid[:, :1, None]
        data, each = self.config.sigma_data, sigma[:, None, None]
        total = (each**2 + data**2).sqrt()
        skip, out = (data / total) ** 2, each * data / total
        # EDM's c_noise, of noise in units of sigma_data
        level = (sigma / data).log() / 4
        moved = noisy - centre
        return centre + skip * moved + out * self.network(moved / total, level, tokens, valid)


def loss_weight(sigma: Tensor, data: float) -> Tensor:
    """Lambda of equation (9): (sigma^2 + sigma_data^2) / (sigma sigma_data)^2."""
    return (sigma**2 + data**2) / (sigma * data) ** 2


class SetDenoising:
    """Data and loss of the stage, equation (9)."""

    def __init__(self, name: str, samples: SampledSets, params: SetDiffusionParams, config: DenoiserConfig) -> None:
        """Keeps the targets.

        Args:
            name: of the stage.
            samples: the targets.
            params: section `train_set_diffusion`.
            config: of the denoiser.
        """
        self.name, self.samples, self.params, self.config = name, samples, params, config

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Targets with their rows in random order, noise, and which intents are dropped."""
        conditions, rows = self.samples.draw(generator, size)
        level = torch.randn(size, generator=generator) * self.params.noise_spread + self.params.noise_mean
        return conditions.as_batch() | {
            "rows": shuffled(rows, generator),
            "sigma": level.exp() * self.config.sigma_data,
            "noise": torch.randn(rows.shape, generator=generator),
            "dropped": torch.rand(size, generator=generator) < self.params.condition_dropout,
        }

    def loss(self, model: Denoiser, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation (9) as a mean over the numbers of a set [b]; a network that says 0 has 1 for each."""
        sigma, rows = batch["sigma"], batch["rows"]
        noisy = rows + sigma[:, None, None] * batch["noise"]
        found = model(noisy, sigma, batch["tokens"], batch["valid"] & ~batch["dropped"][:, None])
        return loss_weight(sigma, self.config.sigma_data) * (found - rows).square().mean((1, 2)), {}


def noise_levels(params: SetDiffusionParams, data: float) -> list[float]:
    """EDM's schedule, falling from sigma_max to sigma_min in n values, then 0."""
    high, low, count = params.sigma_max ** (1 / RHO), params.sigma_min ** (1 / RHO), params.sampler_steps
    shares = [number / max(1, count - 1) for number in range(count)]
    return [data * (high + share * (low - high)) ** RHO for share in shares] + [0.0]


class GuidedDenoiser(nn.Module):
    """D_null + w (D - D_null), what a sampler calls at every step; a scale w of 1 needs no second call."""

    def __init__(self, model: nn.Module, guidance: float) -> None:
        super().__init__()
        self.model, self.guidance = model, guidance

    def forward(self, noisy: Tensor, sigma: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """The guided rows [B, L, d]; the arguments are those of `Denoiser`."""
        told = self.model(noisy, sigma, tokens, valid)
        if self.guidance == 1:
            return told
        untold = self.model(noisy, sigma, tokens, torch.zeros_like(valid))
        return untold + self.guidance * (told - untold)


def denoise_by_torch(model: nn.Module, guidance: float) -> Callable[..., np.ndarray]:
    """What `modit.inference.fan_out.SetSampler` calls, of a denoiser in evaluation mode: arrays in, an array out."""
    guided = GuidedDenoiser(model, guidance)

    @torch.no_grad()
    def denoise(*given: np.ndarray) -> np.ndarray:
        return guided(*map(torch.from_numpy, given)).numpy()

    return denoise


class RowRegressor(nn.Module):
    """A deterministic head, the rival of the diffusion: the same network, from learned rows instead of noise."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config, self.network = config, SetNetwork(config)
        self.start = nn.Parameter(torch.randn(config.rows, config.dimension))

    def forward(self, conditions: Conditions) -> Tensor:
        """Rows [B, L, d] of intents."""
        count = len(conditions)
        zeros = conditions.tokens.new_zeros(count)
        return self.network(self.start.expand(count, -1, -1), zeros, conditions.tokens, conditions.valid)


class RowRegression:
    """Data and loss of the regressor: the mean of each row of the targets, in the order in which they were written."""

    def __init__(self, name: str, samples: SampledSets, config: DenoiserConfig) -> None:
        """Keeps the targets; the arguments are those of `SetDenoising`."""
        self.name, self.samples, self.config = name, samples, config

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Targets, their rows in order."""
        conditions, rows = self.samples.draw(generator, size)
        return conditions.as_batch() | {"rows": rows}

    def loss(self, model: RowRegressor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error over the variance of a number [b]."""
        found = model(Conditions.in_batch(batch))
        return (found - batch["rows"]).square().mean((1, 2)) / self.config.sigma_data**2, {}


def load_denoiser(folder: Path) -> Denoiser:
    """Reads a trained denoiser, in evaluation mode.

    Raises:
        ArtifactError: the file is missing.
    """
    return load_network(folder / MODEL_FILE, lambda config: Denoiser(DenoiserConfig(**config)))


def load_regressor(folder: Path) -> RowRegressor:
    """Reads a trained regressor, in evaluation mode.

    Raises:
        ArtifactError: the file is missing.
    """
    return load_network(folder / MODEL_FILE, lambda config: RowRegressor(DenoiserConfig(**config)))
