"""The towers: hashed n-grams of any language, the losses, SymmAligner, and one seed one result."""

from __future__ import annotations

import logging
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ContractError, InsufficientDataError
from modit.data.judged_queries import QueryPart
from modit.data.ngrams import PADDING, WORDS_MAX, bags, padded, words_of
from modit.data.text_space import TextSpace
from modit.towers.alignment import misalignment
from modit.towers.encoder import load_towers
from modit.towers.params import TowersParams
from modit.towers.training import QueryItemPairs, infonce, new_towers, triplet
from modit.training.loop import step_generator, train
from modit.training.session import Journal, run_stage

SMALL = {"buckets": 512, "width": 16, "hidden": 16, "dimension": 16, "dropout": 0.0, "batch": 16, "steps": 30}
LOG = logging.getLogger("test")


def params(**values) -> TowersParams:
    return TowersParams(**SMALL | values)


def trained(judged, titles, kind="symmaligner", **values):
    chosen = params(**values)
    stage = QueryItemPairs("towers", judged, titles, chosen).aligned(kind)
    return train(new_towers(chosen, 0, kind == "siamese"), stage, chosen, 0, Journal("towers", chosen.steps, LOG))


@given(st.text("aZé1ß汉ж½ -_!\n", min_size=1, max_size=80), st.integers(2, 1000))
@settings(max_examples=40, deadline=None)
def test_any_text_with_a_word_has_buckets_in_range_and_the_same_ones_again(text, buckets):
    words = words_of(text)
    if not words:
        with pytest.raises(ContractError, match="1 texts have no letter or digit, the first is number 0"):
            bags([words], buckets)
        return
    (first,), (again,) = bags([words], buckets), bags([words_of(f" {text}?")], buckets)
    assert first.min() >= 1 and first.max() <= buckets
    np.testing.assert_array_equal(first, again)


def test_case_accents_and_punctuation_do_not_count_and_very_long_texts_are_cut():
    assert words_of("Crème-Brûlée, 3/4 IN.") == ["creme", "brulee", "3", "4", "in"]
    assert len(words_of("word " * 10_000)) == WORDS_MAX


def test_a_bag_holds_the_word_its_characters_and_each_pair_of_neighbours():
    (alone,), (pair,) = bags([["drill"]], 1 << 20), bags([["drill", "bit"]], 1 << 20)
    (second,) = bags([["bit"]], 1 << 20)
    assert len(pair) == len(alone) + len(second) + 1
    table = padded([alone, second])
    assert (table[1, len(second) :] == PADDING).all()


def test_long_words_are_not_kept_in_memory():
    tracemalloc.start()
    for number in range(200):
        bags([[f"{number}{'ab' * 500}"]], 512)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000


def test_over_a_space_towers_begin_as_the_space_and_learn_from_there(judged, titles):
    space, chosen = TextSpace.fit(titles, 16), params()
    fresh = new_towers(chosen, 0, space=space).eval()
    texts = ["Red paint", "lamps", "faucet blue"]
    np.testing.assert_allclose(fresh.encode(texts, "query"), unit_or_zero(space, texts), atol=1e-5)
    stage = QueryItemPairs("towers", judged, titles, chosen, space).aligned("base")
    model = train(fresh, stage, chosen, 0, Journal("towers", chosen.steps, LOG))
    assert not np.allclose(model.encode(texts, "query"), model.encode(texts, "item"), atol=1e-3)


def unit_or_zero(space, texts):
    found = np.zeros((len(texts), 16), np.float32)
    found[:, : space.dimension] = space.encode_words([words_of(text) for text in texts])
    return found


def test_towers_over_a_space_are_read_back_with_it(judged, titles, tmp_path):
    space, chosen = TextSpace.fit(titles, 16), params(steps=2)
    stage = QueryItemPairs("towers", judged, titles, chosen, space)
    space.save(tmp_path)
    folder = tmp_path / "base"
    folder.mkdir()
    model = new_towers(chosen, 0, space=space)
    run_stage(model, stage, chosen, 0, folder, folder, LOG)
    again = load_towers(folder)
    np.testing.assert_array_equal(again.encode(titles, "item"), model.eval().encode(titles, "item"))


@pytest.mark.parametrize("text", ["ручка двери", "門把手", "Türgriff", "zzzz"])
def test_texts_of_other_languages_and_unknown_words_have_finite_unit_vectors(text):
    vector = new_towers(params(), 0).encode([text], "query")
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1.0, atol=1e-5)


def test_a_text_without_a_word_is_refused_by_number():
    with pytest.raises(ContractError, match="1 texts have no letter or digit, the first is number 1"):
        new_towers(params(), 0).encode(["drill", " ?!"], "query")


def test_the_two_towers_differ_and_a_siamese_one_does_not():
    apart, one = new_towers(params(), 0), new_towers(params(), 0, siamese=True)
    assert np.abs(apart.encode(["drill"], "query") - apart.encode(["drill"], "item")).max() > 0.01
    np.testing.assert_array_equal(one.encode(["drill"], "query"), one.encode(["drill"], "item"))


def test_losses_are_those_of_their_equations_and_leave_out_known_items():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.0, 0.5, 0.6]])
    known = torch.tensor([[True, True, False], [False, True, False]])
    np.testing.assert_allclose(triplet(scores, known, 0.2), [0.0, 0.3], atol=1e-6)
    wanted = [-np.log(np.exp(9) / (np.exp(9) + np.exp(1))), -np.log(np.exp(5) / np.exp([0, 5, 6]).sum())]
    np.testing.assert_allclose(infonce(scores, known, 0.1), wanted, rtol=1e-3)


@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_the_total_loss_is_the_mix_of_plain_and_swapped_and_at_lambda_zero_the_plain_one(judged, titles, loss):
    model, batch = new_towers(params(), 0), None
    losses = {}
    for weight in (0.0, 0.3, 1.0):
        stage = QueryItemPairs("towers", judged, titles, params(loss=loss, alignment=weight)).aligned("symmaligner")
        batch = stage.batch(step_generator(0, "towers", 0), 16)
        losses[weight], _ = stage.loss(model, batch)
    torch.testing.assert_close(losses[0.3], 0.7 * losses[0.0] + 0.3 * losses[1.0])
    plain = QueryItemPairs("towers", judged, titles, params(loss=loss)).aligned("base")
    torch.testing.assert_close(losses[0.0], plain.loss(model, batch)[0])
    assert (losses[1.0] - losses[0.0]).abs().max() > 1e-3


def test_the_swapped_loss_gives_each_tower_the_input_of_the_other(judged, titles):
    model = new_towers(params(), 0)
    stage = QueryItemPairs("towers", judged, titles, params(alignment=1.0)).aligned("symmaligner")
    batch = stage.batch(step_generator(0, "towers", 0), 16)
    swapped = stage.loss(model, batch)[0]
    model.towers["query"], model.towers["item"] = model.towers["item"], model.towers["query"]
    torch.testing.assert_close(swapped, stage.aligned("base").loss(model, batch)[0])


def test_pairs_and_hard_negatives_are_labels_of_training_queries_alone(judged, titles):
    stage = QueryItemPairs("towers", judged, titles, params(title_share=0.0))
    training = set(judged.of(QueryPart.TRAIN).tolist())
    assert {query for query, _ in stage.pairs.tolist()} == training
    batch = stage.batch(step_generator(0, "towers", 0), 200)
    pairs = {(int(judged.labels(query)[0][0]), int(judged.labels(query)[0][2])) for query in training}
    assert set(zip(batch["positive_items"].tolist(), batch["negative_items"].tolist(), strict=True)) <= pairs


def test_towers_learn_and_symmaligner_brings_the_two_views_of_a_text_together(judged, titles):
    figures = {}
    for kind in ("base", "symmaligner"):
        model = trained(judged, titles, kind, steps=60, learning_rate=1e-2)
        figures[kind] = misalignment(model, judged, QueryPart.TEST, titles, model.encode(titles, "item"), 2.5)
    for view in ("items", "queries"):
        assert figures["symmaligner"][view] > figures["base"][view] + 0.05
    assert figures["base"]["relevant"] > figures["base"]["random_query_view"] + 0.1


def test_one_seed_gives_the_same_weights_and_files_read_back(judged, titles, tmp_path):
    chosen = params(steps=4, checkpoint_every=2)
    stage = QueryItemPairs("towers", judged, titles, chosen).aligned("symmaligner")
    for name in "ab":
        (tmp_path / name).mkdir()
        run_stage(new_towers(chosen, 0), stage, chosen, 0, tmp_path / name, tmp_path / name, LOG)
    first, second = ((tmp_path / name / "model.pt").read_bytes() for name in "ab")
    assert first == second
    assert load_towers(tmp_path / "a").encode(["drill"], "item").shape == (1, 16)


def test_queries_without_a_relevant_item_are_refused(judged, titles):
    with pytest.raises(InsufficientDataError, match=r"no training query has an item of relevance 9 \(train_towers"):
        QueryItemPairs("towers", judged, titles, params(relevant_min=9.0))


def test_the_words_of_a_title_that_stand_for_a_query_keep_its_order(judged, titles):
    stage = QueryItemPairs("towers", judged, titles, params())
    words = list("abcdefgh")
    for step in range(20):
        chosen = stage._words(words, step / 20, step_generator(0, "towers", step))
        assert 2 <= len(chosen) <= 5
        assert all(first < second for first, second in pairwise(chosen))
