"""SASRec: a causal transformer over the items of a session whose output is compared with all item embeddings.

Kang and McAuley, Self-Attentive Sequential Recommendation (ICDM 2018), with pre-normalisation, GELU and item embeddings
tied to the output. Positions are counted from the end of the window: the last item always has the same one.

Shape legend: B batch, L items of the longest session, H width, N items.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class SasrecConfig:
    """Size of a SASRec.

    Attributes:
        items: N, number of items.
        width: H, width of an item embedding; a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
        dropout: on embeddings, attention and MLP outputs, in [0, 1).
        window: most items of a session that are read, its last ones.
    """

    items: int
    width: int = 64
    depth: int = 2
    heads: int = 2
    dropout: float = 0.5
    window: int = 50


class _Block(nn.Module):
    def __init__(self, config: SasrecConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.up, self.down = nn.Linear(config.width, 4 * config.width), nn.Linear(4 * config.width, config.width)

    def forward(self, states: Tensor) -> Tensor:
        """One block; [B, L, H] to the same."""
        rows, length, width = states.shape
        parts = self.qkv(self.attention_norm(states)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        # Padding is at the end, so that a causal mask hides it from every item.
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        states = states + F.dropout(self.out(mixed.transpose(1, 2).reshape(states.shape)), rate)
        return states + F.dropout(self.down(F.gelu(self.up(self.mlp_norm(states)))), rate)


class Sasrec(nn.Module):
    """The network; `config` says its size."""

    def __init__(self, config: SasrecConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(config.items, config.width)
        self.positions = nn.Embedding(config.window, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, sessions: Tensor) -> Tensor:
        """The state after each item of each session.

        Args:
            sessions: int64 [B, L], L <= window, items oldest first, padded with -1 at the end.

        Returns:
            [B, L, H]; what stands at padding means nothing.
        """
        lengths = (sessions >= 0).sum(1, keepdim=True)
        places = self.config.window - lengths + torch.arange(sessions.shape[1], device=sessions.device)
        states = self.items(sessions.clamp_min(0)) + self.positions(places.clamp_max(self.config.window - 1))
        states = F.dropout(states, self.config.dropout, self.training)
        for block in self.blocks:
            states = block(states)
        return self.norm(states)

    def last_states(self, sessions: Tensor) -> Tensor:
        """The state after the last item of each session, at least one item each, [B, H]."""
        last = (sessions >= 0).sum(1) - 1
        return self(sessions)[torch.arange(len(sessions)), last]


def states_by_length(model: nn.Module, sessions: Tensor, parts: int = 4) -> tuple[Tensor, Tensor]:
    """The states at all items of a batch, computed in parts of similar length, so that little is spent on padding.

    Args:
        model: a `Sasrec`.
        sessions: int64 [B, L], padded with -1 at the end; each has an item.
        parts: of the batch.

    Returns:
        States [n, H] of all n items, and the place of each in `sessions.flatten()`, int64 [n].
    """
    lengths = (sessions >= 0).sum(1)
    order = torch.argsort(lengths, stable=True)
    cuts = [round(len(order) * part / parts) for part in range(parts + 1)]
    states, places = [], []
    for start, end in pairwise(cuts):
        rows = order[start:end]
        if len(rows):
            short = sessions[rows, : int(lengths[rows].max())]
            kept = (short >= 0).nonzero()
            states.append(model(short)[kept[:, 0], kept[:, 1]])
            places.append(rows[kept[:, 0]] * sessions.shape[1] + kept[:, 1])
    return torch.cat(states), torch.cat(places)
