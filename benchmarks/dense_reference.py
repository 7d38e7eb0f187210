"""MO-DiT as one transformer over all 2L + 1 tokens with an explicit mask: what the packed pass saves, and must equal.

Shapes: B batch, L positions, T = 2L + 1 tokens (BOS, conditions, targets), d width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from modit.model.axes import from_frame
from modit.model.dit import Attention, Block, MODiT, modulate, rotate
from modit.training.loop import Batch


def dense_mask(dropped: Tensor) -> Tensor:
    """True where row sees column [B, 1, T, T]; conditions are causal, target r sees r tokens (or BOS) and itself."""
    rows, count = dropped.shape
    size = count + 1
    mask = torch.zeros(rows, size + count, size + count, dtype=torch.bool)
    mask[:, :size, :size] = torch.ones(size, size, dtype=torch.bool).tril()
    prefix = torch.ones(count, size, dtype=torch.bool).tril() & ~dropped[..., None]
    prefix[..., 0] = True
    mask[:, size:, :size] = prefix
    mask[:, size:, size:] = torch.eye(count, dtype=torch.bool)
    return mask.unsqueeze(1)


def dense_velocity(model: MODiT, batch: Batch, noised: Tensor) -> Tensor:
    """Velocities [B, L, d] of noised targets at every position.

    Args:
        model: the same weights as the packed pass.
        batch: of `PrefixPrediction`.
        noised: unit vectors [B, L, d].
    """
    rows, count = batch["time"].shape
    mask, time = dense_mask(batch["dropped"]), model.time(batch["time"])
    bos = (model.bos + model.roles[0]).expand(rows, 1, -1)
    conditions = model.tokens(batch["seeds"], batch["axes"], role=0)
    targets = model.tokens(noised, batch["axes"], role=1)
    x = torch.cat([bos, conditions, targets], 1)
    positions = torch.cat([torch.arange(count + 1), torch.arange(1, count + 1)])[None]
    for block in cast(Iterable[Block], model.blocks):
        parts = block.modulation(time).chunk(6, -1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = map(_for_all_tokens, parts, (0, 0, 1, 0, 0, 1))
        attended = _attention(block.attention, modulate(block.norm_attention(x), shift_a, scale_a), positions, mask)
        x = x + gate_a * attended
        x = x + gate_m * block.mlp(modulate(block.norm_mlp(x), shift_m, scale_m))
    return _readout(model, x, time, batch)


def _for_all_tokens(modulation: Tensor, plain: int) -> Tensor:
    """Modulation of the targets [B, L, H], and the neutral value before them -> [B, T, H]."""
    rows, count, width = modulation.shape
    return torch.cat([torch.full((rows, count + 1, width), float(plain)), modulation], 1)


def _attention(attention: Attention, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
    query, key, value = (p.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for p in attention.qkv(x).chunk(3, -1))
    query, key = rotate(query, positions, attention.base), rotate(key, positions, attention.base)
    return attention.merge(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))


def _readout(model: MODiT, x: Tensor, time: Tensor, batch: Batch) -> Tensor:
    """The heads over the targets; copies attend to the conditions before each, as in the packed pass."""
    readout, count = model.readout, time.shape[1]
    conditions, targets = x[:, : count + 1], x[:, count + 1 :]
    targets = modulate(readout.norm(targets), *readout.modulation(time).chunk(2, -1))
    gates = readout.gate(targets)
    velocity = torch.einsum("bra,bad->brd", gates[..., readout.heads :], batch["axes"])
    if readout.heads:
        raw = F.pad(batch["seeds"], (0, 0, 1, 0))[:, None].expand(-1, readout.heads, -1, -1)
        keys = readout.key(readout.norm_condition(conditions)).unflatten(-1, (readout.heads, -1)).transpose(1, 2)
        queries = readout.query(targets).unflatten(-1, (readout.heads, -1)).transpose(1, 2)
        visible = dense_mask(torch.zeros_like(batch["dropped"][:1]))[:, :, count + 1 :, : count + 1]
        copies = F.scaled_dot_product_attention(queries, keys, raw, attn_mask=visible)
        kept = gates[..., : readout.heads].masked_fill(batch["dropped"][..., None], 0.0)  # BOS has no embedding to copy
        velocity = velocity + torch.einsum("brh,bhrd->brd", kept, copies)
    if readout.velocity is not None:
        velocity = velocity + from_frame(readout.velocity(targets), batch["axes"][:, 0])
    return velocity
