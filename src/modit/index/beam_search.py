"""Beam search over semantic IDs in numpy: batched, within the trie of all IDs or over all tokens.

The network behind it is torch's decoder or an ONNX session; it keeps its own cache (`NextTokens`).

Shape legend: B prompts, P tokens of the longest prompt, W beams, S tokens, V vocabulary, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from modit.index.item_codes import END, PAD, Trie

State = TypeVar("State")


class Predicted(NamedTuple):
    """The next token of some beams, as a network predicts it.

    Attributes:
        log_probabilities: of all tokens float32 [..., V].
        states: hidden states float32 [..., H], which vectors of the trie's nodes are compared with.
    """

    log_probabilities: np.ndarray
    states: np.ndarray


class NextTokens(Protocol[State]):
    """A network that predicts the next token; PAD and BOS have log-probability -inf."""

    def encode(self, prompts: np.ndarray, lengths: np.ndarray) -> tuple[Predicted, State]:
        """Reads prompts.

        Args:
            prompts: int64 [B, P], padded at the end.
            lengths: tokens of each prompt int64 [B], at least 1.

        Returns:
            Of the first token after each prompt, [B, V] and [B, H]; and what `step` goes on from: a state of one beam
            for each prompt.
        """
        ...

    def step(self, tokens: np.ndarray, parents: np.ndarray, state: State) -> tuple[Predicted, State]:
        """Goes on by one token.

        Args:
            tokens: the last token of each beam int64 [B, W].
            parents: number of the beam of `state` that each beam goes on from, int64 [B, W].
            state: of `encode` or of the step before.

        Returns:
            Of the next token of each beam, [B, W, V] and [B, W, H]; and the state of these W beams.
        """
        ...


@dataclass(frozen=True)
class Beams:
    """The IDs that were decoded after each prompt, most probable first.

    Attributes:
        tokens: int64 [B, W, S], codes and END, padded at the end.
        log_probabilities: float32 [B, W], of the whole ID; -inf where there is none.
        identifiers: int64 [B, W], number of the ID in the trie; -1 where no item has it (a hallucination) or there is
            none.
        steps: how many times the network was called after the prompt.
        states: hidden states that END was predicted from float32 [B, W, H]; 0 where there is no ID.
        prompt_states: hidden states after the prompts float32 [B, H].
    """

    tokens: np.ndarray
    log_probabilities: np.ndarray
    identifiers: np.ndarray
    steps: int
    states: np.ndarray
    prompt_states: np.ndarray

    @property
    def decoded(self) -> np.ndarray:
        """Bool [B, W]: where there is an ID at all."""
        return np.isfinite(self.log_probabilities)

    @property
    def invalid(self) -> np.ndarray:
        """Bool [B, W]: decoded IDs that no item has."""
        return self.decoded & (self.identifiers < 0)


@dataclass(frozen=True, eq=False)
class TrieSoftmax:
    """The softmax over the tokens that lead on from a node (`modit.semantic_ids.trie_softmax`).

    Attributes:
        vectors: of the trie's nodes float32 [nodes, H + 1], the last number is a bias; those of the root are 0. None
            without them.
        items: vectors that tell the items of one ID apart float32 [N, H + 1], alike; None without them.
    """

    vectors: np.ndarray | None = None
    items: np.ndarray | None = None

    def extended(self, before: Trie, trie: Trie) -> TrieSoftmax:
        """The softmax over more items: what is known keeps its vectors, and what is new has zeros.

        Args:
            before: the trie of the items that it was trained on.
            trie: of these items and others after them.
        """
        if trie is before:
            return self
        nodes, items = self.vectors, self.items
        if nodes is not None:
            places = trie.places_in(before)
            nodes = nodes[np.maximum(places, 0)] * (places >= 0)[:, None]
        if items is not None:
            items = np.pad(items, ((0, len(trie.items) - len(items)), (0, 0)))
        return TrieSoftmax(nodes, items)

    def normalized(
        self, scores: np.ndarray, states: np.ndarray, counts: np.ndarray, owner: np.ndarray, reached: np.ndarray
    ) -> np.ndarray:
        """Log-probabilities that sum to 1 for each beam, float32 [n].

        Args:
            scores: of candidates float32 [n], those of a beam in a row.
            states: of the beams float32 [b, H].
            counts: candidates of each beam int64 [b].
            owner: beam of each candidate int64 [n].
            reached: node of each candidate int64 [n]; 0 for one that adds nothing.
        """
        there = np.flatnonzero(counts)
        if not len(there):
            return scores
        if self.vectors is not None:
            own = self.vectors[reached]
            scores = scores + np.einsum("nh,nh->n", states[owner], own[:, :-1]) + own[:, -1]
        starts = (np.cumsum(counts) - counts)[there]
        highest, total = np.zeros(len(counts), np.float32), np.ones(len(counts), np.float32)
        highest[there] = np.maximum.reduceat(scores, starts)
        total[there] = np.add.reduceat(np.exp(scores - highest[owner]), starts)
        return scores - (highest + np.log(total))[owner]


class _Front(NamedTuple):
    """The beams at a depth; all [B, W].

    Attributes:
        score: log-probability so far float32; -inf for no beam.
        node: of the trie, that each has reached; 0 in a search over all tokens.
        token: the last.
        parent: the beam before that it goes on from.
        ended: bool.
    """

    score: np.ndarray
    node: np.ndarray
    token: np.ndarray
    parent: np.ndarray
    ended: np.ndarray


def beam_search(
    network: NextTokens[State],
    prompts: np.ndarray,
    lengths: np.ndarray,
    trie: Trie,
    longest: int,
    width: int,
    constrained: bool = True,
    opened: Sequence[np.ndarray | None] | None = None,
    softmax: TrieSoftmax | None = None,
) -> Beams:
    """Finds the most probable IDs after each prompt.

    Args:
        network: predicts tokens.
        prompts: int64 [B, P], padded at the end.
        lengths: tokens of each prompt int64 [B].
        trie: of all IDs.
        longest: most tokens of an ID, END included; what has not ended then is no item's ID.
        width: W, IDs to find for each prompt. A trie of fewer IDs leaves the rest empty.
        constrained: within the trie; else over all tokens, and what comes out may be no item's ID.
        opened: of each prompt, nodes of the trie that it may reach, as `Trie.opened` gives them; None for all. Read
            only within the trie.
        softmax: of a network that was trained within the trie. Without it the network's own probabilities are taken,
            and what it gives to tokens that lead nowhere is lost.
    """
    rows = len(prompts)
    first, state = network.encode(prompts, lengths)
    found = Predicted(first.log_probabilities[:, None], first.states[:, None])
    start = np.zeros((rows, 1), np.int64)
    front = _Front(np.zeros((rows, 1), np.float32), start, start, start, np.zeros((rows, 1), bool))
    tokens, steps = np.zeros((rows, 1, 0), np.int64), 0
    states = np.zeros((rows, 1, found.states.shape[-1]), np.float32)
    for depth in range(longest):
        if depth:
            found, state = network.step(front.token, front.parent, state)
            steps += 1
        front = _within(trie, found, front, width, opened, softmax) if constrained else _free(found, front, width)
        parent = front.parent[..., None]
        tokens = np.concatenate([np.take_along_axis(tokens, parent, 1), front.token[..., None]], -1)
        own = np.take_along_axis(found.states, parent, 1)
        states = np.where((front.token == END)[..., None], own, np.take_along_axis(states, parent, 1))
        if front.ended.all():
            break
    missing = width - tokens.shape[1]
    tokens = np.pad(tokens, ((0, 0), (0, missing), (0, 0)), constant_values=PAD)
    scores = np.pad(front.score, ((0, 0), (0, missing)), constant_values=-np.inf)
    if constrained:
        identifiers = np.pad(trie.identifier[front.node], ((0, 0), (0, missing)), constant_values=-1)
    else:
        identifiers = trie.find(tokens.reshape(-1, tokens.shape[-1])).reshape(scores.shape)
    states = np.pad(states, ((0, 0), (0, missing), (0, 0)))
    found_ids = np.where(np.isfinite(scores), identifiers, -1)
    return Beams(tokens, scores, found_ids, steps, states, first.states)


def _within(
    trie: Trie,
    found: Predicted,
    front: _Front,
    width: int,
    opened: Sequence[np.ndarray | None] | None,
    softmax: TrieSoftmax | None,
) -> _Front:
    """The best children of the beams' nodes. A beam that has ended stays as it is, at no cost.

    Only the tokens that lead somewhere are looked at, so that the work does not grow with the vocabulary.
    """
    rows, beams, vocabulary = found.log_probabilities.shape
    node, ended, score = (values.ravel() for values in (front.node, front.ended, front.score))
    counts = np.where(ended, 1, trie.first_child[node + 1] - trie.first_child[node]) * np.isfinite(score)
    first = np.where(ended, node, trie.first_child[node])
    # Of each candidate: its beam, of all prompts', and the node that it leads to.
    owner = np.repeat(np.arange(rows * beams), counts)
    reached = np.arange(len(owner)) + (first - np.cumsum(counts) + counts)[owner]
    stays = ended[owner]
    token = np.where(stays, PAD, trie.token[reached])
    own = np.where(stays, np.float32(0), found.log_probabilities.reshape(-1, vocabulary)[owner, token])
    if softmax is not None:
        own = softmax.normalized(
            own, found.states.reshape(rows * beams, -1), counts, owner, np.where(stays, 0, reached)
        )
    total = score[owner] + own
    if opened is not None:
        kept = _open(reached, np.cumsum(counts.reshape(rows, beams).sum(1)), opened)
        owner, reached, stays, token, total = (each[kept] for each in (owner, reached, stays, token, total))
    # A line for each prompt.
    prompt = owner // beams
    crowd = np.bincount(prompt, minlength=rows)
    place = np.arange(len(owner)) - (np.cumsum(crowd) - crowd)[prompt]
    lines = np.full((rows, max(1, crowd.max(initial=0))), -np.inf, np.float32)
    lines[prompt, place] = total
    score, chosen = _best(lines, width)
    there = np.isfinite(score)
    if not len(owner):
        nothing = np.zeros(score.shape, np.int64)
        return _Front(score, nothing, nothing, nothing, np.ones(score.shape, bool))
    candidate = np.where(there, (np.cumsum(crowd) - crowd)[:, None] + chosen, 0)
    token = np.where(there, token[candidate], PAD).astype(np.int64)
    parent = np.where(there, owner[candidate] % beams, 0)
    return _Front(
        score,
        np.where(there, reached[candidate], 0),
        token,
        parent,
        ~there | stays[candidate] | (token == END),
    )


def _open(reached: np.ndarray, ends: np.ndarray, opened: Sequence[np.ndarray | None]) -> np.ndarray:
    """Which candidates may be reached, bool [n]; those of prompt b end at `ends[b]`."""
    kept, start = np.ones(len(reached), bool), 0
    for end, mask in zip(ends.tolist(), opened, strict=True):
        if mask is not None:
            kept[start:end] = mask[reached[start:end]]
        start = end
    return kept


def _free(found: Predicted, front: _Front, width: int) -> _Front:
    """The best tokens of all."""
    every = found.log_probabilities
    total = np.where(front.ended[..., None], np.float32(-np.inf), every) + front.score[..., None]
    total[..., PAD] = np.where(front.ended, front.score, -np.inf)
    score, chosen = _best(total.reshape(len(every), -1), width)
    parent, token = np.divmod(chosen, every.shape[-1])
    there = np.isfinite(score)
    token = np.where(there, token, PAD)
    ended = np.take_along_axis(front.ended, parent, 1) | (token == END) | ~there
    return _Front(score, np.zeros_like(token), token, parent, ended)


def _best(lines: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The greatest of each line [B, M], at most `width`, greatest first: values and places [B, min(width, M)]."""
    if width < lines.shape[1]:
        chosen = np.sort(np.argpartition(lines, lines.shape[1] - width, 1)[:, -width:], 1)
        lines = np.take_along_axis(lines, chosen, 1)
        order = np.argsort(-lines, 1, kind="stable")
        return np.take_along_axis(lines, order, 1), np.take_along_axis(chosen, order, 1)
    order = np.argsort(-lines, 1, kind="stable")
    return np.take_along_axis(lines, order, 1), order
