"""Beam search over semantic IDs: batched, with a cache, within the trie of all IDs or over all tokens.

Shape legend: B prompts, W beams, S tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modit.semantic_ids.decoder import Cache, Decoder
from modit.semantic_ids.item_codes import END, PAD, Trie


@dataclass(frozen=True)
class Beams:
    """The IDs that were decoded after each prompt, most probable first.

    Attributes:
        tokens: int64 [B, W, S], codes and END, padded at the end.
        log_probabilities: float32 [B, W], of the whole ID; -inf where there is none.
        identifiers: int64 [B, W], number of the ID in the trie; -1 where no item has it (a hallucination) or there is
            none.
        steps: how many times the decoder was called after the prompt.
    """

    tokens: np.ndarray
    log_probabilities: np.ndarray
    identifiers: np.ndarray
    steps: int

    @property
    def decoded(self) -> np.ndarray:
        """Bool [B, W]: where there is an ID at all."""
        return np.isfinite(self.log_probabilities)

    @property
    def invalid(self) -> np.ndarray:
        """Bool [B, W]: decoded IDs that no item has."""
        return self.decoded & (self.identifiers < 0)


class _TrieArrays:
    """A trie as tensors, for looking up the children of many nodes at once."""

    def __init__(self, trie: Trie, device: torch.device) -> None:
        self.first = torch.from_numpy(trie.first_child).to(device)
        self.token = torch.from_numpy(trie.token).long().to(device)
        self.vocabulary = trie.vocabulary

    def children(self, nodes: Tensor) -> Tensor:
        """The node that each token leads to from each of the nodes [n] -> int64 [n, V]; -1 where it leads nowhere."""
        found = torch.full((len(nodes), self.vocabulary), -1, device=nodes.device)
        counts = torch.where(nodes >= 0, self.first[nodes + 1] - self.first[nodes.clamp_min(0)], 0)
        rows = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), counts)
        within = torch.arange(len(rows), device=nodes.device) - (counts.cumsum(0) - counts)[rows]
        child = self.first[nodes[rows]] + within
        found[rows, self.token[child]] = child
        return found


@torch.no_grad()
def beam_search(
    model: Decoder, prompts: Tensor, lengths: Tensor, trie: Trie, longest: int, width: int, constrained: bool = True
) -> Beams:
    """Finds the most probable IDs after each prompt.

    Args:
        model: in evaluation mode.
        prompts: int64 [B, P], padded at the end.
        lengths: tokens of each prompt int64 [B].
        trie: of all IDs.
        longest: most tokens of an ID, END included; what has not ended then is no item's ID.
        width: W, IDs to find for each prompt. A trie of fewer IDs leaves the rest empty.
        constrained: within the trie; else over all tokens, and what comes out may be no item's ID.
    """
    rows, device = len(prompts), prompts.device
    state, prompt = model.encode(prompts, lengths)
    arrays = _TrieArrays(trie, device)
    score = torch.zeros(rows, 1, device=device)
    node = torch.zeros(rows, 1, dtype=torch.long, device=device)
    tokens = torch.zeros(rows, 1, 0, dtype=torch.long, device=device)
    ended = torch.zeros(rows, 1, dtype=torch.bool, device=device)
    states, decoded, steps = state[:, None], None, 0
    for depth in range(longest):
        if depth:
            states, decoded = model.step(tokens[..., -1], prompt, lengths, decoded)
            steps += 1
        step_score = model.logits(states).log_softmax(-1)
        child = torch.zeros_like(step_score, dtype=torch.long)
        if constrained:
            child = arrays.children(torch.where(ended, -1, node).flatten()).view_as(step_score)
            step_score = step_score.masked_fill(child < 0, float("-inf"))
        # A beam that has ended goes on with padding alone, at no cost.
        step_score = step_score.masked_fill(ended[..., None], float("-inf"))
        step_score[..., PAD] = torch.where(ended, 0.0, float("-inf"))
        total = score[..., None] + step_score
        score, chosen = total.flatten(1).topk(min(width, total[0].numel()), dim=1)
        parent, token = chosen // total.shape[-1], chosen % total.shape[-1]
        token = torch.where(score == float("-inf"), PAD, token)
        node = child.flatten(1).gather(1, chosen)
        tokens = torch.cat([tokens.gather(1, parent[..., None].expand(-1, -1, depth)), token[..., None]], -1)
        ended = ended.gather(1, parent) | (token == END) | (score == float("-inf"))
        if decoded is not None:
            decoded = _reordered(decoded, parent)
        if bool(ended.all()):
            break
    return _as_beams(tokens, score, trie, width, steps)


def _reordered(cache: Cache, parent: Tensor) -> Cache:
    """The beams' cache in the order of the beams that were kept."""
    index = parent[:, None, :, None, None]

    def chosen(values: Tensor) -> Tensor:
        return values.gather(2, index.expand(-1, values.shape[1], -1, *values.shape[3:]))

    return Cache(tuple(map(chosen, cache.keys)), tuple(map(chosen, cache.values)))


def _as_beams(tokens: Tensor, score: Tensor, trie: Trie, width: int, steps: int) -> Beams:
    missing = width - tokens.shape[1]
    spelled = np.pad(tokens.cpu().numpy(), ((0, 0), (0, missing), (0, 0)), constant_values=PAD)
    scores = np.pad(score.float().cpu().numpy(), ((0, 0), (0, missing)), constant_values=-np.inf)
    identifiers = trie.find(spelled.reshape(-1, spelled.shape[-1])).reshape(scores.shape)
    return Beams(spelled, scores, np.where(np.isfinite(scores), identifiers, -1), steps)


def ranked_items(
    beams: Beams, trie: Trie, count: int, excluded: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The items of each prompt's IDs, most probable first: P(item) = P(ID) P(item | ID).

    Items of one ID keep their order. Without P(item | ID) a crowded ID would fill a list before the next ID is asked.

    Args:
        beams: IDs of B prompts.
        trie: of all IDs.
        count: most items of a prompt.
        excluded: of each prompt, rows of the catalogue that are no result.

    Returns:
        Of each prompt: rows of the catalogue int64 [n], and log P(item) of each, float32 [n].
    """
    found = []
    for identifiers, scores, without in zip(beams.identifiers, beams.log_probabilities, excluded, strict=True):
        there = identifiers >= 0
        starts, crowd = trie.item_offsets[identifiers[there]], np.diff(trie.item_offsets)[identifiers[there]]
        places = np.arange(crowd.sum()) + np.repeat(starts - (np.cumsum(crowd) - crowd), crowd)
        rows = trie.items[places].astype(np.int64)
        of_row = np.repeat(scores[there], crowd) + trie.log_shares[places]
        order = np.argsort(-of_row, kind="stable")
        kept = order[~np.isin(rows[order], without)][:count]
        found.append((rows[kept], of_row[kept]))
    return found
