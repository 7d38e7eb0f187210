"""The output within the trie, and vectors of their own for items and nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modit.index.id_retrieval import padded_prompts
from modit.index.item_codes import PAD, ItemCodes
from modit.semantic_ids.decoder import Decoder, DecoderConfig
from modit.semantic_ids.retriever import torch_retriever
from modit.semantic_ids.trie_softmax import TrieSoftmax

SIZES, ITEMS = (4, 5, 3), 30


@pytest.fixture(scope="module")
def codes() -> ItemCodes:
    """IDs of 2 and of 3 codes, some shared."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, size, ITEMS) for size in SIZES], 1).astype(np.int32)
    rows[:, 2][rows[:, 1] < 2] = -1
    return ItemCodes(rows, SIZES, rng.integers(0, 9, ITEMS), rng.random(ITEMS))


def decoder(codes: ItemCodes, node_vectors: bool = True, items: int = ITEMS) -> Decoder:
    torch.manual_seed(0)
    config = DecoderConfig(codes.vocabulary, 16, 1, 2, 2.0, 0.0, 5, items, True, node_vectors)
    made = Decoder(config, codes.trie).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)  # so that probabilities differ
        if node_vectors:
            made.node_vectors.normal_(std=0.5)
            made.node_vectors[: int(codes.trie.first_child[1])] = 0
            made.item_vectors.normal_(std=0.5)
    return made


def of_all_ids(model: Decoder, codes: ItemCodes, session: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of each ID [n, S], and its log-probability after a session [n]."""
    ids = np.unique(codes.tokens, axis=0)
    prompts, lengths = padded_prompts(codes, [np.array(session)], 5, model.config.items)
    with torch.no_grad():
        found = model.log_probabilities(
            torch.from_numpy(prompts), torch.from_numpy(lengths), torch.from_numpy(ids).long()[None]
        )
    return ids, found.log_probabilities.sum(-1)[0].numpy()


@pytest.mark.parametrize("node_vectors", [True, False])
def test_the_probabilities_of_all_ids_sum_to_one(codes, node_vectors):
    _, found = of_all_ids(decoder(codes, node_vectors), codes, [3, 5])
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("node_vectors", [True, False])
def test_a_search_scores_ids_as_the_network_does(codes, node_vectors):
    model = decoder(codes, node_vectors)
    ids, expected = of_all_ids(model, codes, [3, 5])
    beams = torch_retriever(model, codes).search([np.array([3, 5])], codes.trie.identifiers)
    scored = dict(zip(map(tuple, ids.tolist()), expected.tolist(), strict=True))
    found = {
        tuple(row[: ids.shape[1]]): score
        for row, score in zip(beams.tokens[0].tolist(), beams.log_probabilities[0].tolist(), strict=True)
    }
    assert found.keys() == scored.keys()
    assert [found[each] for each in scored] == pytest.approx(list(scored.values()), abs=1e-4)


@pytest.mark.parametrize("node_vectors", [True, False])
def test_the_probabilities_of_all_items_sum_to_one(codes, node_vectors):
    [found] = torch_retriever(decoder(codes, node_vectors), codes, beams=99).recommend([np.array([3, 5])], ITEMS)
    assert sorted(found.rows.tolist()) == list(range(ITEMS))
    assert np.exp(found.scores).sum() == pytest.approx(1, abs=1e-4)


def test_items_of_one_id_are_scored_by_the_search_as_by_the_loss(codes):
    model, session = decoder(codes), [3, 5]
    [found] = torch_retriever(model, codes, beams=99).recommend([np.array(session)], ITEMS)
    ids, of_ids = of_all_ids(model, codes, session)
    scored = dict(zip(map(tuple, ids.tolist()), of_ids.tolist(), strict=True))
    prompts, _ = padded_prompts(codes, [np.array(session)], 5, ITEMS)
    for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        own = [token for token in codes.tokens[row].tolist() if token != PAD]
        tokens = torch.tensor([[*prompts[0].tolist(), *own[:-1]]])
        with torch.no_grad():
            states = model(tokens, torch.arange(tokens.shape[1])[None], torch.zeros_like(tokens))[:, -1]
            of_item = float(model.output.item_log_probabilities(states, torch.tensor([row])))
        assert score == pytest.approx(scored[tuple(codes.tokens[row].tolist())] + of_item, abs=1e-4)


def test_before_training_the_items_of_an_id_have_their_shares_of_its_interactions(codes):
    model = Decoder(DecoderConfig(codes.vocabulary, 16, 1, 2, within_trie=True, node_vectors=True), codes.trie)
    rows = torch.arange(ITEMS)
    with torch.no_grad():
        found = model.output.item_log_probabilities(torch.randn(ITEMS, 16), rows).numpy()
    assert found[codes.trie.items] == pytest.approx(codes.trie.log_shares, abs=1e-6)


def test_what_is_left_out_takes_no_probability_from_the_rest(codes):
    """An ID that is no result does not make its neighbours more probable."""
    ids = torch_retriever(decoder(codes), codes, beams=codes.trie.identifiers)
    [whole] = ids.recommend([np.array([3])], ITEMS)
    [part] = ids.recommend([np.array([3])], ITEMS, excluded=[whole.rows[:4]])
    kept = dict(zip(whole.rows.tolist(), whole.scores.tolist(), strict=True))
    assert part.rows.tolist() == whole.rows[4:].tolist()
    assert part.scores.tolist() == pytest.approx([kept[row] for row in part.rows.tolist()], abs=1e-5)


def test_only_a_vector_of_its_own_tells_items_of_one_id_apart(codes):
    rows, crowd = np.unique(codes.trie.identifier_of, return_counts=True)
    one, other = np.flatnonzero(codes.trie.identifier_of == rows[crowd > 1][0])[:2].tolist()
    own, without = decoder(codes), decoder(codes, items=0)
    assert np.array_equal(of_all_ids(without, codes, [one])[1], of_all_ids(without, codes, [other])[1])
    assert not np.allclose(of_all_ids(own, codes, [one])[1], of_all_ids(own, codes, [other])[1])


def test_an_item_without_a_vector_of_its_own_can_be_in_a_session(codes):
    model = decoder(codes, items=10)
    prompts, _ = padded_prompts(codes, [np.array([3, 20])], 5, 10)
    assert (prompts == codes.vocabulary + 3).sum() == 1
    assert (prompts >= codes.vocabulary).sum() == 1
    assert np.exp(of_all_ids(model, codes, [3, 20])[1]).sum() == pytest.approx(1, abs=1e-5)


def test_tokens_are_walked_as_the_trie_does(codes):
    tokens = np.concatenate([codes.tokens, np.random.default_rng(1).integers(0, codes.vocabulary, (40, 4))])
    found = TrieSoftmax(codes.trie, 8, False).walk(torch.from_numpy(tokens.astype(np.int64))).numpy()
    assert np.array_equal(found, codes.trie.walk(tokens))


def test_the_gradient_reaches_the_vectors_of_siblings_only(codes):
    model = decoder(codes)
    trie, tokens = codes.trie, torch.from_numpy(codes.tokens[:1]).long()[None]
    prompts, lengths = (torch.from_numpy(each) for each in padded_prompts(codes, [np.array([3])], 5, ITEMS))
    model.log_probabilities(prompts, lengths, tokens).log_probabilities.sum().backward()
    touched = set(np.flatnonzero(model.node_vectors.grad.abs().sum(1).numpy() > 0).tolist())
    path = codes.nodes[0][codes.tokens[0] != PAD]
    siblings = {
        child
        for node in path[1:].tolist()
        for child in range(int(trie.first_child[node]), int(trie.first_child[node + 1]))
        if trie.first_child[node + 1] - trie.first_child[node] > 1
    }
    assert touched == siblings


def test_without_a_trie_there_is_no_softmax_within_it():
    with pytest.raises(ValueError, match="trie: there is none"):
        Decoder(DecoderConfig(20, within_trie=True))
