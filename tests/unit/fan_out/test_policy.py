"""The policy writes sets of queries in the catalogue's words, and says how likely each is."""

import numpy as np
import pytest
import torch

from modit.core.errors import ArtifactError, ContractError, InsufficientDataError
from modit.core.memory import in_parts
from modit.data.judged_queries import QueryPart
from modit.data.text_space import SPACE_FILE, TextSpace, frequent_words
from modit.fan_out.intents import Conditions, IntentSets
from modit.fan_out.policy import END, FanOutPolicy, PolicyConfig, load_policy
from modit.fan_out.templates import TemplateSets
from modit.training.checkpoint import save_model


def outputs(policy, conditions, seed=0):
    uniforms = torch.rand((len(conditions), policy.config.places), generator=torch.Generator().manual_seed(seed))
    return policy.write(conditions, uniforms)


def test_what_is_written_has_the_log_probability_that_the_policy_gives_it(policy, intents):
    written = outputs(policy.eval(), intents.conditions)
    again = policy.log_probabilities(intents.conditions, written.tokens)
    assert torch.allclose(written.log_probabilities, again, atol=1e-4)


def test_every_query_has_a_word_and_nothing_follows_its_end(policy, intents):
    queries = outputs(policy, intents.conditions).tokens.unflatten(1, (policy.config.queries, -1))
    assert (queries[..., 0] != END).all()
    ended = (queries == END).int()
    assert (ended.cummax(-1).values == ended).all()


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_the_least_and_the_greatest_number_write_words_of_finite_probability(policy, intents, number):
    written = policy.write(intents.conditions, torch.full((len(intents), policy.config.places), number))
    assert (written.tokens.unflatten(1, (policy.config.queries, -1))[..., 0] != END).all()
    assert written.log_probabilities.isfinite().all()


def test_the_same_numbers_write_the_same_and_others_something_else(policy, intents):
    first, second = outputs(policy, intents.conditions), outputs(policy, intents.conditions)
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.tokens, outputs(policy, intents.conditions, 1).tokens)


def test_an_intents_output_does_not_depend_on_the_others_of_a_batch(policy, intents):
    uniforms = torch.rand((len(intents), policy.config.places), generator=torch.Generator().manual_seed(0))
    together = policy.write(intents.conditions, uniforms).tokens
    assert torch.equal(together[2:3], policy.write(intents.conditions[slice(2, 3)], uniforms[2:3]).tokens)


def test_query_vectors_are_those_of_the_texts(policy, intents, space):
    tokens = outputs(policy, intents.conditions).tokens
    added = policy.added_words(tokens, space)
    expected = [
        space.encode([f"{text} {words}" for words in row]) for text, row in zip(intents.texts, added, strict=True)
    ]
    assert np.allclose(policy.query_vectors(intents.conditions, tokens).numpy(), np.stack(expected), atol=1e-5)


def test_a_word_of_the_intent_adds_nothing(policy, space):
    conditions = Conditions.of(["red paint"], space, 4)
    token = policy.token_of[space.known("paint")[0]]
    found = policy.query_vectors(conditions, torch.tensor([[token, END] * 3]))
    assert torch.allclose(found[0], conditions.tokens[:, 0].expand(3, -1), atol=1e-6)


def test_a_saved_policy_writes_the_same(policy, intents, tmp_path):
    save_model(tmp_path / "model.pt", policy)
    again = load_policy(tmp_path)
    assert torch.equal(outputs(policy, intents.conditions).tokens, outputs(again, intents.conditions).tokens)


def test_the_default_size_has_at_most_two_million_parameters():
    policy = FanOutPolicy(PolicyConfig(vocabulary=10_000, dimension=128, queries=8, words=4))
    assert sum(each.numel() for each in policy.parameters()) <= 2_000_000


def test_templates_name_a_word_of_an_item_of_the_set_or_of_a_near_one(policy, intents, titles, space):
    stage = TemplateSets("test", intents, titles, space, policy, near=0)
    batch = stage.batch(torch.Generator().manual_seed(0), 32)
    every = {
        word for row in intents.items.tolist() for item in row if item >= 0 for word in titles[item].lower().split()
    }
    for queries in policy.added_words(batch["output"], space):
        assert all(query and set(query.split()) <= every for query in queries), queries


def test_near_items_do_not_depend_on_how_many_are_compared_at_once(policy, intents, titles, space):
    together = TemplateSets("test", intents, titles, space, policy, near=2)
    with in_parts(100):
        apart = TemplateSets("test", intents, titles, space, policy, near=2)
    (one, other) = ([[[w for w, _ in near] for near in row] for row in each.choices] for each in (together, apart))
    assert one == other and all(one)


def test_a_policy_learns_its_templates(policy, intents, titles, space):
    stage = TemplateSets("test", intents, titles, space, policy, near=2)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    losses = []
    for step in range(60):
        loss = stage.loss(policy, stage.batch(torch.Generator().manual_seed(step), 16))[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_no_frequent_word_is_refused_by_the_name_of_the_parameter(space, titles):
    with pytest.raises(InsufficientDataError, match="train_fan_out.word_count_min"):
        FanOutPolicy.over(space, frequent_words(titles, 1_000), PolicyConfig(0, space.dimension, 2, 2), 0)


def test_intents_without_an_item_of_enough_relevance_are_refused_by_name(judged, space):
    with pytest.raises(InsufficientDataError, match=r"relevance 2 or more \(train_fan_out.relevant_min\)"):
        IntentSets.of(judged, QueryPart.TRAIN, space, 2.0, 4)


# What callers give: a text of any kind has an answer or a clear refusal.


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_a_text_without_letters_is_refused(space, text):
    with pytest.raises(ContractError, match="no letter or digit; allowed: a text with at least one"):
        Conditions.of([text], space, 4)


@pytest.mark.parametrize("text", ["zzz unheardof", "покраска стены", "壁紙"])
def test_a_text_of_unknown_words_or_another_language_has_the_mean_of_all_items(space, policy, text):
    conditions = Conditions.of([text], space, 4)
    mean = space.items.mean(0) / np.linalg.norm(space.items.mean(0))
    assert np.allclose(conditions.tokens[0, 0], mean, atol=1e-5) and conditions.valid.sum() == 1
    assert torch.isfinite(policy.query_vectors(conditions, outputs(policy, conditions).tokens)).all()


def test_of_a_very_long_text_the_first_known_words_are_read(space, policy):
    conditions = Conditions.of(["red " * 50_000 + "paint"], space, 4)
    assert conditions.tokens.shape[1] == 5 and torch.isfinite(outputs(policy, conditions).log_probabilities).all()


def test_accents_and_case_do_not_matter(space):
    assert np.array_equal(space.encode(["RÉD paint"]), space.encode(["red PAINT"]))


def test_a_text_space_that_is_missing_or_cut_is_refused_by_name(space, tmp_path):
    with pytest.raises(ArtifactError, match="text_space.npz is missing or damaged"):
        TextSpace.load(tmp_path)
    space.save(tmp_path)
    assert np.array_equal(TextSpace.load(tmp_path).items, space.items)
    path = tmp_path / SPACE_FILE
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="text_space.npz is missing or damaged"):
        TextSpace.load(tmp_path)


def test_one_item_or_one_word_makes_no_text_space():
    with pytest.raises(InsufficientDataError, match="1 with 2 words"):
        TextSpace.fit(["red paint"], 8)
    with pytest.raises(InsufficientDataError, match="2 with 1 words"):
        TextSpace.fit(["paint", "paint"], 8)


def test_a_text_space_is_the_same_from_disk_and_has_its_items_as_texts(space, titles, tmp_path):
    space.save(tmp_path)
    again = TextSpace.load(tmp_path)
    assert np.array_equal(again.encode(titles), space.items)
