"""The decoder: what tokens see, candidates in one pass, decoding with a cache, and beam search against plain passes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from modit.index.beam_search import Beams, beam_search
from modit.index.item_codes import BOS, END, FIRST_CODE, PAD, ItemCodes
from modit.index.item_ranking import ranked_items
from modit.semantic_ids.decoder import NO_BLOCK, Decoder, DecoderConfig, TorchNetwork

SIZES = (4, 5, 3)


@pytest.fixture(scope="module")
def codes() -> ItemCodes:
    """IDs of 2 and of 3 codes, some shared."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, size, 40) for size in SIZES], 1).astype(np.int32)
    rows[:, 2][rows[:, 1] < 2] = -1
    return ItemCodes(rows, SIZES, rng.integers(0, 9, 40), rng.random(40))


@pytest.fixture(scope="module")
def model(codes) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(DecoderConfig(codes.vocabulary, width=32, depth=2, heads=4, dropout=0.0)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)  # so that probabilities differ
    return made


def prompts_of(codes, *sessions) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [[BOS, *(token for item in items for token in codes.tokens[item] if token != PAD)] for items in sessions]
    longest = max(map(len, rows))
    padded = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
    return padded, torch.tensor([len(row) for row in rows])


def search(model, prompts, *given, **how) -> Beams:
    tokens, lengths = prompts
    return beam_search(TorchNetwork(model), tokens.numpy(), lengths.numpy(), *given, **how)


@torch.no_grad()
def alone(model, prompt, candidate) -> torch.Tensor:
    """Log-probability of each token of one candidate, by one pass over prompt and candidate."""
    tokens = torch.cat([prompt, candidate])[None]
    places = torch.arange(tokens.shape[1])[None]
    states = model(tokens, places, torch.zeros_like(tokens))
    found = model.logits(states).log_softmax(-1)[0, len(prompt) - 1 : -1]
    return found.gather(-1, candidate[:, None]).squeeze(-1)


def test_candidates_in_one_pass_score_as_each_alone(model, codes):
    prompts, lengths = prompts_of(codes, [1, 2, 3], [4], [])
    candidates = torch.from_numpy(codes.tokens[[[5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]]).long()
    found = model.log_probabilities(prompts, lengths, candidates).log_probabilities
    for row, column in itertools.product(range(3), range(4)):
        candidate = candidates[row, column]
        candidate = candidate[candidate != PAD]
        expected = alone(model, prompts[row, : lengths[row]], candidate)
        assert torch.allclose(found[row, column, : len(candidate)], expected, atol=1e-5)
        assert (found[row, column, len(candidate) :] == 0).all()


def test_a_candidate_does_not_see_another(model, codes):
    prompts, lengths = prompts_of(codes, [1, 2, 3])
    one = torch.from_numpy(codes.tokens[[[5, 6, 7]]]).long()
    other = torch.from_numpy(codes.tokens[[[5, 20, 21]]]).long()
    a, b = (model.log_probabilities(prompts, lengths, each) for each in (one, other))
    assert torch.equal(a.log_probabilities[:, 0], b.log_probabilities[:, 0])
    assert torch.equal(a.states[:, 0], b.states[:, 0])
    assert not torch.equal(a.states[:, 1], b.states[:, 1])


def test_an_empty_candidate_scores_nothing_and_changes_nothing(model, codes):
    prompts, lengths = prompts_of(codes, [1, 2, 3])
    full = torch.from_numpy(codes.tokens[[[5, 6]]]).long()
    empty = torch.cat([full, torch.full_like(full[:, :1], PAD)], 1)
    a, b = (model.log_probabilities(prompts, lengths, each) for each in (full, empty))
    assert torch.allclose(a.log_probabilities, b.log_probabilities[:, :2], atol=1e-6)
    assert (b.log_probabilities[:, 2] == 0).all()
    assert (b.states[:, 2] == 0).all()
    assert torch.isfinite(b.log_probabilities).all()


def test_sessions_packed_into_one_row_are_predicted_as_each_alone(model, codes):
    sessions = ([1, 2], [3, 4, 5], [6])
    rows = [prompts_of(codes, items)[0][0] for items in sessions]
    tokens = torch.cat([*rows, torch.full((4,), PAD)])[None]
    numbers = [torch.full((len(row),), index + 1) for index, row in enumerate(rows)]
    blocks = torch.cat([*numbers, torch.full((4,), NO_BLOCK)])[None]
    positions = torch.cat([*(torch.arange(len(row)) for row in rows), torch.zeros(4, dtype=torch.long)])[None]
    packed = model(tokens, positions, blocks)[0]
    start = 0
    for row in rows:
        single = model(row[None], torch.arange(len(row))[None], torch.ones(1, len(row), dtype=torch.long))[0]
        assert torch.allclose(packed[start : start + len(row)], single, atol=1e-5)
        start += len(row)
    assert torch.isfinite(packed).all()


@torch.no_grad()
def test_padding_and_the_start_are_never_predicted(model, codes):
    prompts, lengths = prompts_of(codes, [1])
    probabilities = model.logits(model.encode(prompts, lengths)[0]).softmax(-1)
    assert (probabilities[:, [PAD, BOS]] == 0).all()
    assert torch.allclose(probabilities.sum(-1), torch.ones(1))


def every_id(model, codes, prompt) -> dict[tuple[int, ...], float]:
    """Log-probability of every ID after a prompt, by plain passes."""
    ids = {tuple(int(token) for token in row if token != PAD) for row in codes.tokens}
    return {each: float(alone(model, prompt, torch.tensor(each)).sum()) for each in ids}


@pytest.mark.parametrize("width", [3, 7, 100])
def test_beams_in_the_trie_have_the_probability_of_plain_passes_and_wide_ones_find_the_best(model, codes, width):
    prompts, lengths = prompts_of(codes, [1, 2, 3], [4], [5, 6, 7, 8])
    beams = search(model, (prompts, lengths), codes.trie, codes.tokens.shape[1], width)
    for row in range(3):
        scores = every_id(model, codes, prompts[row, : lengths[row]])
        found = [tuple(int(token) for token in each if token != PAD) for each in beams.tokens[row]]
        found = found[: int(beams.decoded[row].sum())]
        assert len(set(found)) == len(found) == min(width, len(scores))
        got = beams.log_probabilities[row, : len(found)]
        assert np.allclose(got, [scores[each] for each in found], atol=1e-4)
        assert (np.diff(got) <= 0).all()
        assert (beams.identifiers[row, : len(found)] >= 0).all()
        if width == 100:
            assert found == sorted(scores, key=scores.__getitem__, reverse=True)
    assert not beams.invalid.any()


def test_beams_over_all_tokens_are_the_most_probable_strings_and_name_those_that_no_item_has(model, codes):
    prompts, lengths = prompts_of(codes, [1, 2, 3], [4])
    width = 50
    beams = search(model, (prompts, lengths), codes.trie, 3, width, constrained=False)
    known = {tuple(int(token) for token in row if token != PAD) for row in codes.tokens}
    for row in range(2):
        prompt = prompts[row, : lengths[row]]
        firsts = [(END,), *((token,) for token in range(FIRST_CODE, codes.vocabulary))]
        strings = [(*first, *second) for first in firsts for second in ([()] if first == (END,) else firsts)]
        strings = [(*each, *third) for each in strings for third in ([()] if END in each else firsts)]
        scores = {each: float(alone(model, prompt, torch.tensor(each)).sum()) for each in strings}
        best = sorted(scores.values(), reverse=True)
        # with as many beams as there are strings of two tokens nothing is lost on the way
        full = search(model, (prompts[[row]], lengths[[row]]), codes.trie, 3, len(firsts) ** 2, constrained=False)
        assert np.allclose(full.log_probabilities[0, :width], best[:width], atol=1e-4)
        for spelled, identifier in zip(beams.tokens[row], beams.identifiers[row], strict=True):
            assert (identifier >= 0) == (tuple(int(token) for token in spelled if token != PAD) in known)
    assert beams.invalid.any()


def test_a_batch_finds_what_each_prompt_finds_alone(model, codes):
    sessions = ([1, 2, 3], [4], [5, 6, 7, 8], [])
    together = search(model, prompts_of(codes, *sessions), codes.trie, 4, 6)
    for row, items in enumerate(sessions):
        single = search(model, prompts_of(codes, items), codes.trie, 4, 6)
        assert np.array_equal(together.identifiers[row], single.identifiers[0])
        assert np.allclose(together.log_probabilities[row], single.log_probabilities[0], atol=1e-5)


def test_items_are_ranked_by_the_probability_of_their_id_and_their_share_of_it_without_those_excluded(model, codes):
    trie = codes.trie
    beams = search(model, prompts_of(codes, [1, 2]), trie, 4, 10)
    expected = {}
    for identifier, score in zip(beams.identifiers[0], beams.log_probabilities[0], strict=True):
        rows = trie.items_of(identifier)
        used = codes.counts[rows] + 1
        expected |= dict(zip(rows.tolist(), score + np.log(used / used.sum()), strict=True))
    assert len(expected) > len(beams.identifiers[0])  # some share an ID
    rows, scores = ranked_items(beams, trie, len(expected), [np.zeros(0, np.int64)])[0]
    assert set(rows.tolist()) == set(expected)
    assert np.allclose(scores, [expected[row] for row in rows.tolist()], atol=1e-5)
    assert (np.diff(scores) <= 0).all()
    for identifier in beams.identifiers[0]:
        own = trie.items_of(identifier)
        assert [row for row in rows.tolist() if row in own] == own.tolist()
    without = rows[[0, 3]]
    kept, _ = ranked_items(beams, trie, 8, [without])[0]
    assert np.array_equal(kept, rows[~np.isin(rows, without)][:8])


def test_a_trie_of_one_item_always_answers_that_item():
    only = ItemCodes(np.array([[2, 1, 0]], np.int32), SIZES, np.array([3]), np.array([0.0]))
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(only.vocabulary, width=16, depth=1, heads=2)).eval()
    beams = search(model, prompts_of(only, [0], []), only.trie, 4, 5)
    for rows, _ in ranked_items(beams, only.trie, 5, [np.zeros(0, np.int64)] * 2):
        assert rows.tolist() == [0]
    assert beams.decoded.sum(1).tolist() == [1, 1]
