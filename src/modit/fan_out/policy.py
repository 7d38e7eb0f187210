"""The fan-out policy: a small decoder over the catalogue's words that writes k queries for an intent.

A query is the intent with up to W words added: the paper's prompt asks for one to three added or changed words. So an
output is the added words alone, in a fixed layout: k queries of W places each. A place holds a word or END; after END,
the other places of the query hold END, too, and count as not written. Outputs need no padding, and a set of queries is
a reshape.

Shape legend: B rows, P condition tokens, T = k W places, V tokens (END and the words), H width, d dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.core.errors import InsufficientDataError
from modit.data.text_space import TextSpace
from modit.fan_out.intents import Conditions
from modit.model.dit import Attention, DiTConfig, SwiGLU
from modit.training.checkpoint import load_network

END = 0
# Of END in the text space; another number than the padding of an intent's words.
NO_PLACE = -2
MODEL_FILE = "model.pt"
Past = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PolicyConfig:
    """Size of a policy.

    Attributes:
        vocabulary: words that it can write.
        dimension: d, of the text space.
        queries: k.
        words: W, most added words of a query.
        width: H.
        depth: blocks.
        heads: attention heads.
        dropout: on embeddings, attention and MLP outputs.
    """

    vocabulary: int
    dimension: int
    queries: int
    words: int
    width: int = 128
    depth: int = 2
    heads: int = 4
    dropout: float = 0.1

    @property
    def places(self) -> int:
        """T."""
        return self.queries * self.words


class Block(nn.Module):
    """Pre-norm attention and MLP, with the keys and values of earlier tokens where there are any."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
        self.attention = Attention(config)
        self.mlp = SwiGLU(config.width, int(config.mlp_ratio * config.width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Tokens [B, n, H] at positions [1, n]; mask [B, 1, n, earlier + n] is True where one sees another."""
        query, key, value = self.attention.project(self.norm_attention(x), positions)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.dropout(self.attention.merge(attended))
        return x + self.dropout(self.mlp(self.norm_mlp(x))), (key, value)


class Written(NamedTuple):
    """Outputs of a policy.

    Attributes:
        tokens: int64 [B, T].
        log_probabilities: of each token given those before it [B, T]; 0 where nothing was chosen.
    """

    tokens: Tensor
    log_probabilities: Tensor


class FanOutPolicy(nn.Module):
    """log pi(queries | intent). Output weights are the embedding's, which starts as the text space's word vectors."""

    places: Tensor
    vectors: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        tokens = config.vocabulary + 1
        # of the space: where each word is, and its vector; END has neither
        self.register_buffer("places", torch.full((tokens,), NO_PLACE, dtype=torch.int64))
        self.register_buffer("vectors", torch.zeros(tokens, config.dimension))
        size = DiTConfig(config.dimension, config.width, config.depth, config.heads, dropout=config.dropout)
        self.embed = nn.Embedding(tokens, config.width)
        self.condition = nn.Linear(config.dimension, config.width)
        self.start = nn.Parameter(torch.zeros(config.width))
        self.layout = nn.Parameter(torch.empty(config.places, config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(size) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width)
        self.bias = nn.Parameter(torch.zeros(tokens))
        for weight in (self.embed.weight, self.layout):
            nn.init.normal_(weight, std=0.02)

    @classmethod
    def over(cls, space: TextSpace, words: set[str], config: PolicyConfig, seed: int) -> FanOutPolicy:
        """A policy with fresh weights that can write the words of a space that are in `words`.

        Raises:
            InsufficientDataError: there is none.
        """
        places = [place for place, word in enumerate(space.words.tolist()) if word in words]
        if not places:
            raise InsufficientDataError(
                "items: no word is in train_fan_out.word_count_min titles or more; a policy needs words to write"
            )
        torch.manual_seed(seed)
        policy = cls(replace(config, vocabulary=len(places)))
        policy.places[1:] = torch.tensor(places)
        policy.vectors[1:] = torch.from_numpy(space.vectors[places])
        shared = min(config.width, config.dimension)
        with torch.no_grad():  # words that mean the same start as the same
            policy.embed.weight[1:, :shared] += 0.2 * F.normalize(policy.vectors[1:], dim=-1)[:, :shared]
        return policy

    @property
    def token_of(self) -> dict[int, int]:
        """Place of a word in the text space -> token."""
        return {place: token for token, place in enumerate(self.places.tolist()) if token != END}

    def query_vectors(self, conditions: Conditions, tokens: Tensor) -> Tensor:
        """Unit vectors of the queries of outputs int64 [B, T] in the text space [B, k, d]."""
        queries = tokens.unflatten(-1, (self.config.queries, self.config.words))
        same = queries[..., :, None] == queries[..., None, :]
        stated = (self.places[queries][..., None] == conditions.words[:, None, None]).any(-1)
        counts = ~(torch.tril(same, -1).any(-1) | stated)  # a word counts once, as in a text
        added = (self.vectors[queries] * counts[..., None]).sum(-2)
        return F.normalize(conditions.sums[:, None] + added, dim=-1)

    def added_words(self, tokens: Tensor, space: TextSpace) -> list[list[str]]:
        """What the queries of outputs int64 [B, T] add to their intents."""
        places = self.places[tokens].unflatten(-1, (self.config.queries, self.config.words)).tolist()
        words = space.words
        return [[" ".join(str(words[place]) for place in query if place >= 0) for query in row] for row in places]

    def written(self, tokens: Tensor) -> Tensor:
        """Where a policy has a choice: bool [..., T], false behind an END of the same query."""
        queries = tokens.unflatten(-1, (self.config.queries, self.config.words)) == END
        return ~F.pad(queries.cummax(-1).values[..., :-1], (1, 0)).flatten(-2)

    def log_probabilities(self, conditions: Conditions, tokens: Tensor) -> Tensor:
        """Log pi of each token of outputs int64 [B, T] given those before it [B, T]; 0 where there is no choice."""
        prompt = self.condition(conditions.tokens)
        before = torch.cat([self.start.expand(len(tokens), 1, -1), self.embed(tokens[:, :-1])], 1) + self.layout
        x = self.dropout(torch.cat([prompt, before], 1))
        seen = torch.cat([conditions.valid, conditions.valid.new_ones(tokens.shape)], 1)
        causal = seen.new_ones(x.shape[1], x.shape[1]).tril()
        mask = ((causal & seen[:, None]) | torch.eye(x.shape[1], dtype=torch.bool, device=x.device))[:, None]
        positions = torch.arange(x.shape[1], device=x.device)[None]
        for block in self.blocks:
            x, _ = block(x, positions, mask)
        chosen = self.logits(x[:, prompt.shape[1] :], torch.arange(tokens.shape[1], device=x.device)).log_softmax(-1)
        found = chosen.gather(-1, tokens[..., None]).squeeze(-1)
        return torch.where(self.written(tokens), found, 0.0)

    def logits(self, states: Tensor, places: Tensor) -> Tensor:
        """Logits [B, n, V] of states [B, n, H] at places [n]; the first word of a query is never END."""
        found = self.norm(states) @ self.embed.weight.T + self.bias
        opening = (places % self.config.words == 0)[:, None] & (
            torch.arange(found.shape[-1], device=places.device) == END
        )
        return found.masked_fill(opening, float("-inf")).float()

    @torch.no_grad()
    def write(self, conditions: Conditions, uniforms: Tensor, temperature: float = 1.0) -> Written:
        """Samples one output for each row, token after token, without dropout.

        Args:
            conditions: of B intents.
            uniforms: numbers in [0, 1) that decide each choice, float [B, T]; the same ones give the same output.
            temperature: of the softmax, > 0. `log_probabilities` are those at temperature 1.
        """
        training = self.training
        self.eval()
        rows, device = len(uniforms), uniforms.device
        x = self.condition(conditions.tokens)
        count = x.shape[1]
        causal = torch.ones(count, count, dtype=torch.bool, device=device).tril()
        mask = ((causal & conditions.valid[:, None]) | torch.eye(count, dtype=torch.bool, device=device))[:, None]
        past: list[Past] = []
        for block in self.blocks:
            x, kept = block(x, torch.arange(count, device=device)[None], mask)
            past.append(kept)
        tokens = torch.empty(rows, self.config.places, dtype=torch.int64, device=device)
        log_probabilities = torch.zeros(rows, self.config.places, device=device)
        ended = torch.zeros(rows, dtype=torch.bool, device=device)
        before, seen = self.start.expand(rows, -1), conditions.valid
        for place in range(self.config.places):
            x = (before + self.layout[place])[:, None]
            seen = F.pad(seen, (0, 1), value=True)
            position = torch.tensor([[count + place]], device=device)
            for number, block in enumerate(self.blocks):
                x, past[number] = block(x, position, seen[:, None, None], past[number])
            ended = ended & (place % self.config.words != 0)
            scores = self.logits(x, position[0] - count)[:, 0]
            # "<=": of a number that is exactly 0, too, the token is one of probability above 0
            drawn = ((scores / temperature).softmax(-1).cumsum(-1) <= uniforms[:, place, None]).sum(-1)
            token = torch.where(ended, END, drawn.clamp_max(scores.shape[-1] - 1))
            own = scores.log_softmax(-1).gather(-1, token[:, None])[:, 0]
            tokens[:, place], log_probabilities[:, place] = token, torch.where(ended, 0.0, own)
            ended = ended | (token == END)
            before = self.embed(token)
        self.train(training)
        return Written(tokens, log_probabilities)


def load_policy(folder: Path) -> FanOutPolicy:
    """Reads a trained policy, in evaluation mode.

    Raises:
        ArtifactError: the file is missing.
    """
    return load_network(folder / MODEL_FILE, lambda config: FanOutPolicy(PolicyConfig(**config)))
