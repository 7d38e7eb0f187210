"""MO-DiT: one diffusion transformer over a seed sequence and noised targets (specification section 2).

Shape legend: B batch, M seeds, C = M + 1 condition tokens (BOS first), R targets, H width, A heads, E head width,
d width of an embedding.

Conditions never see targets, so a pass is always two halves with the same weights: `encode` runs the condition tokens
once and keeps their keys and values; `velocity` runs targets against them. Training, sampling and export share both.
What a target may see is a prefix of the condition tokens, given by its length (`visible`): r for the packed target of
position r, n + 1 for a query after n seeds, 1 (BOS alone) for a dropped condition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.model.axes import AXES, from_frame, gram, to_axes

TIME_FREQUENCIES = 64


@dataclass(frozen=True)
class DiTConfig:
    """Size of a MO-DiT.

    Attributes:
        dimension: d, width of an item embedding.
        width: H, width of a token; a multiple of 2 * heads.
        depth: number of blocks.
        heads: A, attention heads.
        mlp_ratio: hidden width of the SwiGLU MLP over H.
        copy_heads: readout heads that attend to the raw seed embeddings (docs/adr/0003); 0 for none.
        linear_head: whether the readout also has the paper's linear map of the token; needed where copy_heads is 0.
        dropout: dropout on attention and MLP outputs, in [0, 1).
        rope_base: base of the rotary frequencies.
    """

    dimension: int
    width: int = 96
    depth: int = 3
    heads: int = 4
    mlp_ratio: float = 2.0
    copy_heads: int = 4
    linear_head: bool = False
    dropout: float = 0.0
    rope_base: float = 10_000.0


class ConditionCache(NamedTuple):
    """The encoded conditions of a batch: all that targets need of them.

    Attributes:
        keys: one [B, A, C, E] a block.
        values: one [B, A, C, E] a block.
        copy_keys: keys of the copy readout [B, copy_heads, C, E].
        tokens: BOS (zeros) and raw unit embeddings [B, C, d], the values of the copy readout.
        lengths: valid condition tokens of each row, BOS included [B].
        axes: of each case [B, A, d].
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    copy_keys: Tensor
    tokens: Tensor
    lengths: Tensor
    axes: Tensor


class Visibility(NamedTuple):
    """Which condition tokens each target sees, and where it stands.

    Attributes:
        positions: RoPE index of each target [B, R].
        mask: True where the target sees the condition token [B, 1, R, C]; None means packed: target r sees the first r.
        dropped: True where a packed target's condition is dropped (sees BOS alone) [B, R]; None for no drop.
    """

    positions: Tensor
    mask: Tensor | None
    dropped: Tensor | None


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """AdaLN: x (1 + scale) + shift (Peebles & Xie 2023)."""
    return x * (1 + scale) + shift


def rotate(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Rotary position embedding of queries or keys [B, A, T, E] at integer positions [B, T] or [1, T]."""
    half = x.shape[-1] // 2
    frequencies = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = (positions.to(torch.float32).unsqueeze(-1) * frequencies.repeat(2)).unsqueeze(1)
    first, second = x.chunk(2, -1)
    return x * angles.cos().to(x.dtype) + torch.cat([-second, first], -1) * angles.sin().to(x.dtype)


def prefix_and_self_attention(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """Attention of each target to a prefix of the conditions and to itself, never to another target.

    The target's own score rides in one extra coordinate: a sentinel key (0, 1) meets the query (q, q.k_self), so the
    softmax runs over prefix and self together and no [R, R] block is ever made. The sentinel's value is (0, 1): the
    extra output coordinate is the weight of the target itself.

    Args:
        query: queries of the targets [B, A, R, E]; key and value: the targets' own.
        key: [B, A, R, E].
        value: [B, A, R, E].
        keys: keys of the conditions [B, A, C, E].
        values: values of the conditions [B, A, C, E].
        mask: [B, 1, R, C] True where visible; None for the packed pass, where target row r sees conditions 0..r.
    """
    width = query.shape[-1]
    pad = 8 - width % 8 - 1 if width % 8 != 7 else 0  # keep the head width a multiple of 8 for the fused kernels
    own_score = (query * key).sum(-1, keepdim=True)
    query = F.pad(torch.cat([query, own_score], -1), (0, pad))
    sentinel = F.pad(query.new_ones(*keys.shape[:2], 1, 1), (width, pad))
    keys = torch.cat([sentinel, F.pad(keys, (0, pad + 1))], 2)
    values = torch.cat([sentinel, F.pad(values, (0, pad + 1))], 2)
    scale = 1 / math.sqrt(width)
    if mask is None:
        # With one idle row on top, "row r sees columns 0..r" is the sentinel and the r conditions before target r.
        query = F.pad(query, (0, 0, 1, 0))
        output = F.scaled_dot_product_attention(
            query, keys[:, :, : query.shape[2]], values[:, :, : query.shape[2]], is_causal=True, scale=scale
        )[:, :, 1:]
    else:
        mask = F.pad(mask, (1, 0), value=True)
        output = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    return output[..., :width] + output[..., width : width + 1] * value


def bos_and_self_attention(query: Tensor, key: Tensor, value: Tensor, bos_key: Tensor, bos_value: Tensor) -> Tensor:
    """The same attention where only BOS [B, A, 1, E] is visible: a dropped condition."""
    weight = torch.sigmoid((query * (key - bos_key)).sum(-1, keepdim=True) / math.sqrt(query.shape[-1]))
    return bos_value + weight * (value - bos_value)


class Attention(nn.Module):
    """Projections of one block's attention, shared by conditions and targets."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads, self.base = config.heads, config.rope_base
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys (both rotated) and values, each [B, A, T, E]."""
        projected = self.qkv(x).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        rotated, v = projected.split([2 * self.heads, self.heads], 1)
        q, k = rotate(rotated, positions, self.base).chunk(2, 1)
        return q, k, v

    def merge(self, x: Tensor) -> Tensor:
        """[B, A, T, E] -> [B, T, H]."""
        return self.out(x.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """MLP with a gated SiLU (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 2 * hidden, bias=False)
        self.outer = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., H] -> [..., H]."""
        gate, up = self.inner(x).chunk(2, dim=-1)
        return self.outer(F.silu(gate) * up)


class Block(nn.Module):
    """One DiT block. Conditions pass with plain RMSNorm; targets with AdaLN from the time embedding."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm_attention = nn.RMSNorm(config.width)
        self.norm_mlp = nn.RMSNorm(config.width)
        self.attention = Attention(config)
        self.mlp = SwiGLU(config.width, int(config.mlp_ratio * config.width))
        self.modulation = nn.Linear(config.width, 6 * config.width)
        self.dropout = nn.Dropout(config.dropout)

    def encode(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Condition tokens [B, C, H], causal. Returns the tokens, and their keys and values for the targets."""
        q, k, v = self.attention.project(self.norm_attention(x), positions)
        x = x + self.dropout(self.attention.merge(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return x + self.dropout(self.mlp(self.norm_mlp(x))), k, v

    def forward(self, x: Tensor, time: Tensor, keys: Tensor, values: Tensor, visibility: Visibility) -> Tensor:
        """Target tokens [B, R, H] with time embeddings [B, R, H] against the conditions' keys and values."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(time).chunk(6, dim=-1)
        q, k, v = self.attention.project(modulate(self.norm_attention(x), shift_a, scale_a), visibility.positions)
        attended = prefix_and_self_attention(q, k, v, keys, values, visibility.mask)
        if visibility.dropped is not None:
            alone = bos_and_self_attention(q, k, v, keys[:, :, :1], values[:, :, :1])
            attended = torch.where(visibility.dropped[:, None, :, None], alone, attended)
        x = x + gate_a * self.dropout(self.attention.merge(attended))
        return x + gate_m * self.dropout(self.mlp(modulate(self.norm_mlp(x), shift_m, scale_m)))


class TimeEmbedding(nn.Module):
    """Sinusoidal features of t in [0, 1], then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, time: Tensor) -> Tensor:
        """[B, R] -> [B, R, H]."""
        exponents = torch.arange(TIME_FREQUENCIES, device=time.device, dtype=torch.float32) / TIME_FREQUENCIES
        angles = 1000.0 * time.to(torch.float32).unsqueeze(-1) * 10_000.0**-exponents
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1).to(next(self.mlp.parameters()).dtype))


class Readout(nn.Module):
    """Velocity head (docs/adr/0003): signed copies of the seeds that a target sees, and steps along the case's axes.

    What it writes lies in the span of what the case brings, so it cannot draw an unseen pattern's query towards places
    that it has memorised. The paper's linear map of the token can be added.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads = config.copy_heads
        head_width = config.width // config.heads
        self.norm = nn.RMSNorm(config.width)
        self.modulation = nn.Linear(config.width, 2 * config.width)
        if self.heads:  # a parameter without a part in the loss would stop data parallelism
            self.norm_condition = nn.RMSNorm(config.width)
            self.query = nn.Linear(config.width, self.heads * head_width, bias=False)
            self.key = nn.Linear(config.width, self.heads * head_width, bias=False)
        self.gate = nn.Linear(config.width, self.heads + len(AXES))  # copies, then axes
        self.velocity = nn.Linear(config.width, config.dimension + 1) if config.linear_head else None

    def encode(self, x: Tensor) -> Tensor:
        """Keys of the condition tokens [B, C, H] -> [B, copy_heads, C, E]."""
        return self.key(self.norm_condition(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, time: Tensor, cache: ConditionCache, visibility: Visibility) -> Tensor:
        """Targets [B, R, H] -> velocities [B, R, d]."""
        shift, scale = self.modulation(time).chunk(2, dim=-1)
        x = modulate(self.norm(x), shift, scale)
        gates = self.gate(x)
        velocity = gates[..., self.heads :] @ cache.axes
        if self.heads:
            velocity = velocity + self.copy(x, gates[..., : self.heads], cache, visibility)
        if self.velocity is not None:
            velocity = velocity + from_frame(self.velocity(x), cache.axes[:, 0])
        return velocity

    def copy(self, x: Tensor, gates: Tensor, cache: ConditionCache, visibility: Visibility) -> Tensor:
        """The gated attention means of the visible raw embeddings [B, R, d]; nothing where only BOS is visible."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        scores = (query / math.sqrt(query.shape[-1])) @ cache.copy_keys.transpose(-1, -2)
        mask = visibility.mask
        if mask is None:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril()[None, None]
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        gates = gates.transpose(1, 2).unsqueeze(-1)
        if visibility.dropped is not None:
            gates = gates.masked_fill(visibility.dropped[:, None, :, None], 0.0)
        return (gates * weights).sum(1) @ cache.tokens


class MODiT(nn.Module):
    """The generator's velocity field v(z_t, t, seeds)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.dimension + len(AXES), config.width)
        self.context = nn.Linear(len(AXES) * (len(AXES) - 1) // 2, config.width)
        self.bos = nn.Parameter(torch.empty(config.width))
        self.roles = nn.Parameter(torch.empty(2, config.width))  # condition, target
        self.time = TimeEmbedding(config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.readout = Readout(config)
        self.initialize()

    def initialize(self) -> None:
        """Xavier for linear maps, 0.02 for tokens, zeros for AdaLN and the linear velocity (adaLN-Zero)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.bos, self.roles):
            nn.init.normal_(token, std=0.02)
        readout = self.readout
        zeros = [module.modulation for module in self.modules() if isinstance(module, Block)]
        for linear in (*zeros, readout.modulation, readout.gate, readout.velocity):
            if linear is None:
                continue
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        with torch.no_grad():
            readout.gate.bias[self.config.copy_heads] = 1.0  # start by moving to the mean of the seeds

    def tokens(self, x: Tensor, axes: Tensor, role: int) -> Tensor:
        """Unit vectors [B, T, d] -> tokens [B, T, H]: offset from the frame, coordinates on the axes, how they lie."""
        features = self.embed(to_axes(x, axes) * math.sqrt(self.config.dimension))
        return features + self.context(gram(axes))[:, None] + self.roles[role]

    def encode(self, seeds: Tensor, lengths: Tensor, axes: Tensor) -> ConditionCache:
        """Runs the condition half once.

        Args:
            seeds: unit embeddings [B, M, d], valid ones first.
            lengths: number of valid seeds of each row [B].
            axes: of each case, frame first [B, A, d] (`modit.model.axes.case_axes`).
        """
        batch, count = seeds.shape[:2]
        bos = (self.bos + self.roles[0]).expand(batch, 1, -1)
        x = torch.cat([bos, self.tokens(seeds, axes, role=0)], 1)
        positions = torch.arange(count + 1, device=seeds.device).unsqueeze(0)
        keys, values = [], []
        for block in self.blocks:
            x, key, value = cast(Block, block).encode(x, positions)
            keys.append(key)
            values.append(value)
        raw = F.pad(seeds, (0, 0, 1, 0))
        copy_keys = self.readout.encode(x) if self.config.copy_heads else x.new_zeros(0)
        return ConditionCache(tuple(keys), tuple(values), copy_keys, raw, lengths + 1, axes)

    def velocity(self, noised: Tensor, time: Tensor, cache: ConditionCache, visibility: Visibility) -> Tensor:
        """Velocities [B, R, d] of noised targets [B, R, d] at times [B, R]."""
        x = self.tokens(noised, cache.axes, role=1)
        embedded_time = self.time(time)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = block(x, embedded_time, keys, values, visibility)
        return self.readout(x, embedded_time, cache, visibility)


def packed_visibility(batch: int, targets: int, dropped: Tensor | None, device: torch.device) -> Visibility:
    """Dense prefix supervision: target r (1-based) stands at position r and sees BOS and seeds 1..r-1."""
    positions = torch.arange(1, targets + 1, device=device).expand(batch, -1)
    return Visibility(positions, None, dropped)


def query_visibility(cache: ConditionCache, targets: int, unconditional: Tensor | None = None) -> Visibility:
    """Queries after all valid seeds of each row.

    Args:
        cache: the encoded conditions.
        targets: R, number of independent queries of each row.
        unconditional: True where the query sees BOS alone [B, R]; None for none.
    """
    lengths = cache.lengths[:, None].expand(-1, targets)
    visible = lengths if unconditional is None else torch.where(unconditional, torch.ones_like(lengths), lengths)
    columns = torch.arange(cache.tokens.shape[1], device=lengths.device)
    return Visibility(lengths, (columns < visible[..., None]).unsqueeze(1), None)
