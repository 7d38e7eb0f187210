"""From sessions of catalogue rows to ranked items, by the semantic IDs that a network decodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from modit.index.beam_search import Beams, NextTokens, TrieSoftmax, beam_search
from modit.index.item_codes import BOS, END, PAD, ItemCodes
from modit.index.item_neighbours import ItemNeighbours
from modit.index.item_ranking import ranked_items

_SESSIONS_AT_ONCE = 64
# Bounds the memory of wide beams: fewer sessions are decoded together.
_BEAMS_AT_ONCE = 2_560
_NO_ROWS = np.empty(0, np.int64)


class Recommendation(NamedTuple):
    """What was found for one session.

    Attributes:
        rows: of the catalogue int64 [n], n <= count, best first.
        scores: of each item float32 [n], as of `modit.index.item_ranking.ranked_items`.
        decoded: IDs that were decoded.
        invalid: of these, how many no item has; the hallucination rate is `invalid / decoded`.
        items: how many items the decoded IDs have in all, before any is excluded or cut off.
    """

    rows: np.ndarray
    scores: np.ndarray
    decoded: int
    invalid: int
    items: int


def session_tokens(codes: ItemCodes, items: np.ndarray, item_tokens: int = 0) -> np.ndarray:
    """BOS and the tokens of a session's items, int64 [n].

    Args:
        codes: IDs of all items.
        items: rows of the catalogue int64 [m], oldest first.
        item_tokens: number of items, those of the first rows, that end with a token of their own, `vocabulary + row`,
            instead of END. An item that came later ends with END.
    """
    tokens, rows = codes.tokens[items].astype(np.int64), np.asarray(items, np.int64)[:, None]
    tokens = np.where((tokens == END) & (rows < item_tokens), codes.vocabulary + rows, tokens).reshape(-1)
    return np.concatenate([[BOS], tokens[tokens != PAD]])


def padded_prompts(
    codes: ItemCodes, sessions: Sequence[np.ndarray], session_items: int, item_tokens: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The last items of each session as a prompt: tokens int64 [B, P], padded at the end, and their numbers [B].

    Args:
        codes: IDs of all items.
        sessions: rows of the catalogue, oldest first.
        session_items: most items of a session.
        item_tokens: as of `session_tokens`.
    """
    prompts = [session_tokens(codes, np.asarray(items, np.int64)[-session_items:], item_tokens) for items in sessions]
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    tokens = np.full((len(prompts), lengths.max(initial=1)), PAD, np.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    return tokens, lengths


def bias_of_unused(biases: np.ndarray, counts: np.ndarray) -> float:
    """The bias of a dense score that an item without interactions has: the mean over the items that are used least.

    Args:
        biases: of the items [N].
        counts: their training interactions int64 [N]; not all are 0.
    """
    return float(biases[counts == counts[counts > 0].min()].mean())


class _Question(NamedTuple):
    """A session, and which rows may be its results."""

    history: np.ndarray
    excluded: np.ndarray
    allowed: np.ndarray | None


@dataclass(frozen=True, eq=False)
class IdRetriever:
    """A network, the IDs that it was trained on, and how they are decoded.

    Attributes:
        network: predicts tokens.
        codes: of all items; new items may have been added (`ItemCodes.extended`).
        session_items: most items of a session that are read, the last ones.
        constrained: decode within the trie of IDs; else over all tokens.
        beams: IDs to decode for a session.
        item_tokens: items that end with a token of their own in a prompt, those of the first rows.
        softmax: of a network that was trained within the trie; else None.
        dense_vectors: what scores items after a prompt float32 [N, H + 1] (`ranked_items`); None for IDs alone.
        neighbours: of items, which vote on what comes after a session; None without them.
    """

    network: NextTokens[Any]
    codes: ItemCodes
    session_items: int
    constrained: bool = True
    beams: int = 20
    item_tokens: int = 0
    softmax: TrieSoftmax | None = None
    dense_vectors: np.ndarray | None = None
    neighbours: ItemNeighbours | None = None

    def prompts(self, histories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of sessions int64 [B, P], padded at the end, and their numbers [B]."""
        return padded_prompts(self.codes, histories, self.session_items, self.item_tokens)

    def search(
        self, histories: Sequence[np.ndarray], width: int, opened: Sequence[np.ndarray | None] | None = None
    ) -> Beams:
        """The IDs that are decoded after sessions; `opened` as of `beam_search`."""
        prompts, lengths = self.prompts(histories)
        trie, longest = self.codes.trie, self.codes.tokens.shape[1]
        return beam_search(self.network, prompts, lengths, trie, longest, width, self.constrained, opened, self.softmax)

    def recommend(
        self,
        histories: Sequence[np.ndarray],
        count: int,
        excluded: Sequence[np.ndarray] | None = None,
        allowed: Sequence[np.ndarray | None] | None = None,
    ) -> list[Recommendation]:
        """Ranks items for each session, as likely next items.

        Within the trie only IDs are decoded that an item has which may be a result, and where fewer than `count` items
        came out, twice as many beams are: a list is shorter only if there are no more items.

        Args:
            histories: rows of the catalogue, oldest first, any number of them; an empty one asks for likely starts.
            count: most items for each session.
            excluded: rows that are no result, of each session; None for none.
            allowed: of each session, bool [N], the rows that may be results, or None for all.
        """
        questions = [
            _Question(history, _NO_ROWS if excluded is None else excluded[row], allowed[row] if allowed else None)
            for row, history in enumerate(histories)
        ]
        order = np.argsort([min(len(items), self.session_items) for items in histories], kind="stable").tolist()
        found: dict[int, Recommendation] = {}
        width, left = self.beams, order
        while left:
            short: list[int] = []
            step = max(1, min(_SESSIONS_AT_ONCE, _BEAMS_AT_ONCE // width))
            for start in range(0, len(left), step):
                part = left[start : start + step]
                answers, available = self._decode([questions[row] for row in part], count, width)
                found.update(zip(part, answers, strict=True))
                short += [
                    row
                    for row, answer, ids in zip(part, answers, available, strict=True)
                    if len(answer.rows) < count and width < ids
                ]
            width, left = 2 * width, short
        return [found[row] for row in range(len(histories))]

    def _decode(self, questions: list[_Question], count: int, width: int) -> tuple[list[Recommendation], list[int]]:
        """The answers of `width` beams, and how many IDs each session could have decoded; 0 without the trie."""
        trie = self.codes.trie
        excluded, allowed = [each.excluded for each in questions], [each.allowed for each in questions]
        opened: list[np.ndarray | None] | None = None
        available = [0] * len(questions)
        if self.constrained:
            open_nodes = [trie.opened(*each) for each in zip(excluded, allowed, strict=True)]
            opened, available = [nodes for nodes, _ in open_nodes], [ids for _, ids in open_nodes]
            width = max(1, min(width, max(available)))
        beams = self.search([each.history for each in questions], width, opened)
        there = np.maximum(beams.identifiers, 0)
        crowd = trie.item_offsets[there + 1] - trie.item_offsets[there]
        items = np.where(beams.identifiers >= 0, crowd, 0).sum(1)
        figures = zip(beams.decoded.sum(1), beams.invalid.sum(1), items, strict=True)
        ranked = self.ranked(beams, [each.history for each in questions], count, excluded, allowed)
        answers = [
            Recommendation(rows, scores, int(decoded), int(invalid), int(total))
            for (rows, scores), (decoded, invalid, total) in zip(ranked, figures, strict=True)
        ]
        return answers, available

    def ranked(
        self,
        beams: Beams,
        histories: Sequence[np.ndarray],
        count: int,
        excluded: Sequence[np.ndarray],
        allowed: Sequence[np.ndarray | None] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The items that beams after sessions stand for, as of `ranked_items`."""
        votes = None
        if self.neighbours is not None:
            votes = [self.neighbours.votes(np.asarray(items)[-self.session_items :]) for items in histories]
        vectors = self.softmax.items if self.softmax else None
        return ranked_items(beams, self.codes.trie, count, excluded, allowed, vectors, self.dense_vectors, votes)
