"""Items by decoded IDs: what may be no result is left out within the trie, and lists are as long as they can be.

The network is a Markov chain of tokens: the probability of a token follows from the last one.
"""

from __future__ import annotations

import numpy as np
import pytest

from modit.index.beam_search import Predicted
from modit.index.id_retrieval import IdRetriever
from modit.index.item_codes import END, PAD, ItemCodes

SIZES, ITEMS = (4, 5, 3), 60


class MarkovChain:
    """Log-probabilities of the next token given the last; the state is nothing but the number of prompts."""

    def __init__(self, vocabulary: int) -> None:
        logits = np.random.default_rng(5).standard_normal((vocabulary, vocabulary)).astype(np.float32)
        logits[:, :END] = -np.inf
        self.table = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        self.widths: list[int] = []

    def encode(self, prompts, lengths):
        return self.predicted(prompts[np.arange(len(prompts)), lengths - 1]), 1

    def step(self, tokens, parents, state):
        assert (parents < state).all()
        self.widths.append(tokens.shape[1])
        return self.predicted(tokens), tokens.shape[1]

    def predicted(self, tokens):
        return Predicted(self.table[tokens], np.zeros((*tokens.shape, 2), np.float32))


@pytest.fixture(scope="module")
def codes() -> ItemCodes:
    """IDs of 2 and of 3 codes, some shared."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, size, ITEMS) for size in SIZES], 1).astype(np.int32)
    rows[:, 2][rows[:, 1] < 2] = -1
    return ItemCodes(rows, SIZES, rng.integers(0, 9, ITEMS), rng.random(ITEMS))


def retriever(codes: ItemCodes, beams: int = 4) -> IdRetriever:
    return IdRetriever(MarkovChain(codes.vocabulary), codes, session_items=5, beams=beams)


def log_probabilities(codes: ItemCodes, last: int) -> np.ndarray:
    """log P(item) of every item after a session that ends with a token, by the definition."""
    table, found = MarkovChain(codes.vocabulary).table, np.empty(len(codes))
    for row, tokens in enumerate(codes.tokens.tolist()):
        spelled = [last, *(token for token in tokens if token != PAD)]
        crowd = (codes.tokens == codes.tokens[row]).all(1)
        share = (codes.counts[row] + 1) / (codes.counts[crowd] + 1).sum()
        found[row] = sum(table[a, b] for a, b in zip(spelled, spelled[1:], strict=False)) + np.log(share)
    return found


def random_limits(seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    excluded = rng.choice(ITEMS, rng.integers(0, ITEMS), replace=False)
    return excluded, rng.random(ITEMS) < rng.random() if seed % 2 else None


def may_be_results(excluded: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    found = np.ones(ITEMS, bool) if allowed is None else allowed.copy()
    found[excluded] = False
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_node_is_open_if_an_item_below_it_may_be_a_result(codes, seed):
    limits = random_limits(seed)
    trie, results = codes.trie, may_be_results(*limits)
    nodes, count = trie.opened(*limits)
    expected = np.zeros(len(trie), bool)
    for row in np.flatnonzero(results):
        node = int(np.flatnonzero(trie.identifier == trie.identifier_of[row])[0])
        while node >= 0:
            expected[node], node = True, int(trie.parent[node])
    assert np.array_equal(np.ones(len(trie), bool) if nodes is None else nodes, expected)
    assert count == len(set(trie.identifier_of[results].tolist()))


def test_where_every_id_keeps_an_item_all_nodes_are_open_and_no_mask_is_made(codes):
    trie = codes.trie
    second = [rows[-1] for rows in map(trie.items_of, range(trie.identifiers)) if len(rows) > 1]
    assert trie.opened(np.array(second)) == (None, trie.identifiers)
    assert trie.opened(np.zeros(0, np.int64)) == (None, trie.identifiers)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("beams", [1, 4, 100])
def test_a_list_is_never_short_while_items_are_left_and_of_enough_beams_it_is_the_best(codes, seed, beams):
    excluded, allowed = random_limits(seed)
    results = may_be_results(excluded, allowed)
    expected = log_probabilities(codes, END)
    for count in (1, 10, ITEMS + 5):
        (found,) = retriever(codes, beams).recommend([np.array([3, 7])], count, [excluded], [allowed])
        assert len(found.rows) == min(count, results.sum())
        assert results[found.rows].all()
        assert len(set(found.rows.tolist())) == len(found.rows)
        assert np.allclose(found.scores, expected[found.rows], atol=1e-5)
        if beams == 100:
            best = np.sort(expected[results])[::-1][:count]
            assert np.allclose(found.scores, best, atol=1e-5)


def test_limits_of_one_session_do_not_change_the_answers_of_others(codes):
    histories = [np.array([3]), np.zeros(0, np.int64), np.array([5, 9]), np.array([3])]
    limits = [random_limits(seed) for seed in (0, 1, 3)] + [(np.zeros(0, np.int64), None)]
    together = retriever(codes).recommend(histories, 10, *map(list, zip(*limits, strict=True)))
    for history, (excluded, allowed), found in zip(histories, limits, together, strict=True):
        (alone,) = retriever(codes).recommend([history], 10, [excluded], [allowed])
        assert np.array_equal(alone.rows, found.rows)
        assert np.allclose(alone.scores, found.scores, atol=1e-6)


def test_beams_are_doubled_only_while_too_few_items_come_out(codes):
    few, many = retriever(codes, 4), retriever(codes, 4)
    few.recommend([np.array([3])], 3)
    assert set(few.network.widths) == {4}
    many.recommend([np.array([3])], ITEMS)
    assert {4, 8, 16, codes.trie.identifiers} <= set(many.network.widths)
    assert max(many.network.widths) == codes.trie.identifiers


def test_with_every_item_excluded_the_list_is_empty(codes):
    for limits in ([np.arange(ITEMS)], None), ([np.zeros(0, np.int64)], [np.zeros(ITEMS, bool)]):
        (found,) = retriever(codes).recommend([np.array([3])], 10, *limits)
        assert (len(found.rows), len(found.scores), found.decoded) == (0, 0, 0)


def test_a_trie_of_one_item_answers_that_item_or_nothing():
    only = ItemCodes(np.array([[2, 1, 0]], np.int32), SIZES, np.array([3]), np.array([0.0]))
    answers = retriever(only).recommend([np.array([0]), np.zeros(0, np.int64)], 5)
    assert [answer.rows.tolist() for answer in answers] == [[0], [0]]
    assert retriever(only).recommend([np.array([0])], 5, [np.array([0])])[0].rows.tolist() == []


def test_no_sessions_have_no_answers(codes):
    assert retriever(codes).recommend([], 5) == []
