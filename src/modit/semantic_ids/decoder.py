"""A decoder-only transformer over the tokens of a session: each item is the tokens of its ID, then END.

In a prompt an item that the decoder was trained on may end with a token of its own instead, `vocabulary + row`, which
says which of the items with these codes it is.

Shape legend: B batch, T tokens, P tokens of a prompt, C candidates of a prompt, S tokens of a candidate or of what a
beam has decoded, W beams, H width, D blocks, A heads, E head width, V vocabulary.

What a token sees is given by blocks: a token of block b sees earlier tokens of block b and of block 0. So one pass
holds several sessions (blocks 1, 2, ...), or one prompt (block 0) and several candidates after it (blocks 1, 2, ...).
Positions are given apart, so that each candidate starts where the prompt ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.index.beam_search import Predicted
from modit.index.item_codes import END, PAD, Trie
from modit.model.dit import rotate
from modit.semantic_ids.item_table import ItemTable
from modit.semantic_ids.trie_softmax import TrieSoftmax

# The block of padding, which sees itself only.
NO_BLOCK = -1
ROPE_BASE = 10_000.0


@dataclass(frozen=True)
class DecoderConfig:
    """Size of a decoder.

    Attributes:
        vocabulary: V, tokens.
        width: H, a multiple of 2 * heads.
        depth: number of blocks.
        heads: A, attention heads.
        mlp_ratio: hidden width of the SwiGLU MLP over H.
        dropout: on embeddings, attention and MLP outputs, in [0, 1).
        session_items: most items of a session that it was trained on; of longer ones it reads the last.
        items: items that end with a token of their own in a prompt, those of the first rows of the catalogue.
        within_trie: the output is a softmax over the tokens that lead on in the trie (`modit.semantic_ids.
            trie_softmax`), else over all tokens.
        node_vectors: within the trie, nodes have vectors of their own.
        content: D, numbers of an item's embedding, which is part of its own token; 0 for none.
        dense: items have a dense score after a prompt too (`modit.semantic_ids.item_table`).
    """

    vocabulary: int
    width: int = 128
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 2.0
    dropout: float = 0.1
    session_items: int = 20
    items: int = 0
    within_trie: bool = False
    node_vectors: bool = False
    content: int = 0
    dense: bool = False


class Scored(NamedTuple):
    """Candidates after a prompt.

    Attributes:
        log_probabilities: of each token given the prompt and the candidate's tokens before it [B, C, S]; 0 at padding.
        states: hidden state at each candidate's END token, after the last norm [B, C, H]; zeros for an empty candidate.
    """

    log_probabilities: Tensor
    states: Tensor


def visibility(blocks: Tensor) -> Tensor:
    """Which earlier tokens each token sees, and itself: blocks int64 [B, T] -> bool [B, 1, T, T]."""
    count = blocks.shape[1]
    earlier = torch.ones(count, count, dtype=torch.bool, device=blocks.device).tril()
    same = (blocks[:, None, :] == blocks[:, :, None]) | (blocks[:, None, :] == 0)
    itself = torch.eye(count, dtype=torch.bool, device=blocks.device)
    return ((same & (blocks[:, None, :] != NO_BLOCK) & earlier) | itself)[:, None]


class Block(nn.Module):
    """Pre-norm attention and SwiGLU MLP."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        hidden = round(config.mlp_ratio * config.width)
        self.heads = config.heads
        self.norm_attention, self.norm_mlp = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.up = nn.Linear(config.width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All tokens of a pass [B, T, H], and their keys and values [B, A, T, E]."""
        query, key, value = self.project(x, positions)
        return self.finish(x, F.scaled_dot_product_attention(query, key, value, attn_mask=mask)), key, value

    def project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values [B, A, T, E]."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm_attention(x)).chunk(3, dim=-1)
        )
        return rotate(query, positions, ROPE_BASE), rotate(key, positions, ROPE_BASE), value

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows attention [B, A, T, E]: residuals and MLP."""
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        gate, up = self.up(self.norm_mlp(x)).chunk(2, dim=-1)
        return x + self.dropout(self.down(F.silu(gate) * up))


class Decoder(nn.Module):
    """The autoregressive retriever's network; output weights are the embedding's."""

    def __init__(self, config: DecoderConfig, trie: Trie | None = None) -> None:
        """Makes a network with fresh weights.

        Args:
            config: its size.
            trie: of all IDs; only an output over all tokens can do without.
        """
        super().__init__()
        self.config, self.trie = config, trie
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.items: ItemTable | None = None
        if config.items:
            self.items = ItemTable(config.items, config.width, config.content, config.dense)
        self.output: TrieSoftmax | None = None
        if config.within_trie:
            if trie is None:
                raise ValueError("trie: there is none; allowed: the trie of all IDs, as config.within_trie is set")
            self.output = TrieSoftmax(trie, config.width, config.node_vectors)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.initialize()

    def initialize(self) -> None:
        """Normal with 0.02, and less for what adds to the residual stream of a deep network (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.depth) ** 0.5 if last else 0.02)
        for own in (self.node_vectors, self.item_vectors):
            if own is not None:
                nn.init.zeros_(own)

    @property
    def made_of(self) -> tuple[DecoderConfig, Trie | None]:
        """What another one is made from."""
        return self.config, self.trie

    @property
    def node_vectors(self) -> Tensor | None:
        """Vectors of the trie's nodes [nodes, H + 1], the last number is a bias; None without them."""
        return None if self.output is None or self.output.vectors is None else self.output.vectors.weight

    @property
    def item_vectors(self) -> Tensor | None:
        """Vectors that tell the items of one ID apart [N, H + 1], the last number is a bias; None without them."""
        return None if self.output is None or self.output.items is None else self.output.items.weight

    @property
    def dense_vectors(self) -> Tensor | None:
        """Vectors that score items after a prompt [N, H + 1], the last number is a bias; None without them."""
        return None if self.items is None else self.items.dense_vectors()

    def forward(self, tokens: Tensor, positions: Tensor, blocks: Tensor) -> Tensor:
        """Hidden states after the last norm.

        Args:
            tokens: int64 [B, T].
            positions: int64 [B, T].
            blocks: int64 [B, T]; see the module.

        Returns:
            [B, T, H]; `logits` of them predict the token after each.
        """
        return self._run(tokens, positions, blocks)[0]

    def logits(self, states: Tensor) -> Tensor:
        """Hidden states [..., H] -> logits over all tokens [..., V]; padding and BOS are never predicted: -inf."""
        found = states @ self.embed.weight.T + self.bias
        never = torch.arange(self.config.vocabulary, device=found.device) < END
        return found.masked_fill(never, float("-inf"))

    def token_log_probabilities(self, states: Tensor, nodes: Tensor, tokens: Tensor) -> Tensor:
        """Log-probability of one token at each place [n].

        Args:
            states: hidden states [n, H].
            nodes: of the trie, that each token leads on from int64 [n].
            tokens: int64 [n].
        """
        logits = self.logits(states)
        if self.output is not None:
            return self.output(states, logits, nodes, tokens)
        return logits.float().log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1)

    def log_probabilities(self, prompts: Tensor, lengths: Tensor, candidates: Tensor) -> Scored:
        """Scores several candidates after each prompt in one pass: the prompt is encoded once (label packing, RAD-DPO).

        Args:
            prompts: int64 [B, P], padded at the end.
            lengths: tokens of each prompt int64 [B], at least 1.
            candidates: int64 [B, C, S], each the codes of an ID and END, padded at the end; all padding for none.
                Within the trie, they are IDs of the trie.
        """
        rows, count, longest = candidates.shape
        places = torch.arange(prompts.shape[1], device=prompts.device)
        there = candidates != PAD
        numbers = torch.arange(1, count + 1, device=prompts.device)[:, None]
        blocks = torch.cat(
            [
                torch.where(places < lengths[:, None], 0, NO_BLOCK),
                torch.where(there, numbers, NO_BLOCK).flatten(1),
            ],
            1,
        )
        after = lengths[:, None, None] + torch.arange(longest, device=prompts.device).expand(rows, count, -1)
        positions = torch.cat([places.expand(rows, -1), after.flatten(1)], 1)
        states = self(torch.cat([prompts, candidates.flatten(1)], 1), positions, blocks)
        last = states[torch.arange(rows, device=states.device), lengths - 1]
        own = states[:, prompts.shape[1] :].unflatten(1, (count, longest))
        before = torch.cat([last[:, None, None].expand(-1, count, 1, -1), own[:, :, :-1]], 2)
        nodes = self.output.walk(candidates)[there] if self.output is not None else candidates[there]
        found = self.token_log_probabilities(before[there], nodes, candidates[there])
        scored = found.new_zeros(candidates.shape).masked_scatter(there, found)
        return Scored(scored, (own * (candidates == END)[..., None]).sum(2))

    @torch.no_grad()
    def encode(self, prompts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Runs prompts once, for decoding after them.

        Args:
            prompts: int64 [B, P], padded at the end.
            lengths: tokens of each prompt int64 [B], at least 1.

        Returns:
            The hidden state of each prompt's last token [B, H], and keys and values of all its tokens
            [B, D, 2, A, P, E].
        """
        places = torch.arange(prompts.shape[1], device=prompts.device).expand_as(prompts)
        states, keys, values = self._run(prompts, places, torch.where(places < lengths[:, None], 0, NO_BLOCK))
        cache = torch.stack([torch.stack(pair, 1) for pair in zip(keys, values, strict=True)], 1)
        return states[torch.arange(states.shape[0], device=states.device), lengths - 1], cache

    def no_tokens(self, prompt: Tensor) -> Tensor:
        """The cache of one beam for each prompt that has decoded nothing yet: `decoded` of the first `step`."""
        rows, depth, pair, heads, _, width = prompt.shape
        return prompt.new_zeros(rows, 1, depth, pair, heads, 0, width)

    @torch.no_grad()
    def step(
        self, tokens: Tensor, parents: Tensor, lengths: Tensor, prompt: Tensor, decoded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decodes one more token of each beam. Beams share their prompt's cache; only their own tokens are kept apart.

        Args:
            tokens: the last token of each beam int64 [B, W].
            parents: the beam of `decoded` that each goes on from, int64 [B, W].
            lengths: tokens of each prompt int64 [B].
            prompt: from `encode`, [B, D, 2, A, P, E].
            decoded: of the tokens before these, of the W' beams of the step before [B, W', D, 2, A, S, E].

        Returns:
            Hidden states [B, W, H], and the beams' cache with this token [B, W, D, 2, A, S + 1, E].
        """
        rows, before = decoded.shape[0], decoded.shape[5]
        place = torch.arange(rows, device=tokens.device)[:, None] * decoded.shape[1] + parents
        past = decoded.flatten(0, 1).index_select(0, place.flatten()).unflatten(0, (rows, tokens.shape[1]))
        positions = (lengths[:, None] + before).expand(rows, tokens.shape[1])
        hidden = torch.arange(prompt.shape[4], device=tokens.device) >= lengths[:, None, None, None]
        x = self.embed(tokens)
        own = []
        for layer, each in enumerate(self.blocks):
            block = cast(Block, each)
            query, key, value = block.project(x, positions)
            # [B, W, 2, A, S + 1, E]
            new = torch.stack([key.transpose(1, 2), value.transpose(1, 2)], 2).unsqueeze(4)
            cached = torch.cat([past[:, :, layer], new], 4)
            own.append(cached)
            query = query * query.shape[-1] ** -0.5
            to_prompt = (query @ prompt[:, layer, 0].transpose(-1, -2)).masked_fill(hidden, float("-inf"))
            to_own = (cached[:, :, 0] @ query.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)
            weights = torch.cat([to_prompt, to_own], -1).softmax(-1)
            split = prompt.shape[4]
            attended = weights[..., :split] @ prompt[:, layer, 1]
            of_own = weights[..., split:].transpose(1, 2).unsqueeze(3) @ cached[:, :, 1]
            x = block.finish(x, attended + of_own.squeeze(3).transpose(1, 2))
        return self.norm(x), torch.stack(own, 2)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """[B, T, H]; an item's own token is END and what is special about it."""
        if self.items is None:
            return self.embed(tokens)
        rows = tokens - self.config.vocabulary
        own = self.items(rows.clamp_min(0)) * (rows >= 0)[..., None]
        return self.embed(torch.where(rows >= 0, END, tokens)) + own

    def _run(self, tokens: Tensor, positions: Tensor, blocks: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        mask = visibility(blocks)
        x = self.dropout(self._embedded(tokens))
        keys, values = [], []
        for block in self.blocks:
            x, key, value = cast(Block, block)(x, positions, mask)
            keys.append(key)
            values.append(value)
        return self.norm(x), keys, values


class DecoderState(NamedTuple):
    """What a search goes on from; see `Decoder.step`."""

    lengths: Tensor
    prompt: Tensor
    decoded: Tensor


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A decoder in evaluation mode as the network of a beam search (`modit.index.beam_search.NextTokens`)."""

    model: Decoder

    @torch.no_grad()
    def encode(self, prompts: np.ndarray, lengths: np.ndarray) -> tuple[Predicted, DecoderState]:
        """Reads prompts."""
        device = self.model.bias.device
        counts = torch.from_numpy(lengths).to(device)
        states, prompt = self.model.encode(torch.from_numpy(prompts).to(device), counts)
        return self._predicted(states), DecoderState(counts, prompt, self.model.no_tokens(prompt))

    @torch.no_grad()
    def step(self, tokens: np.ndarray, parents: np.ndarray, state: DecoderState) -> tuple[Predicted, DecoderState]:
        """Goes on by one token."""
        device = self.model.bias.device
        given = torch.from_numpy(tokens).to(device), torch.from_numpy(parents).to(device)
        states, decoded = self.model.step(*given, *state)
        return self._predicted(states), state._replace(decoded=decoded)

    def _predicted(self, states: Tensor) -> Predicted:
        found = self.model.logits(states).float().log_softmax(-1)
        return Predicted(found.cpu().numpy(), states.float().cpu().numpy())
