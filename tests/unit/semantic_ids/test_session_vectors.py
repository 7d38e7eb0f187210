"""Vectors of items from sessions, and IDs of embeddings joined to them."""

from __future__ import annotations

import numpy as np
import pytest

from modit.data.catalog import Sequences
from modit.data.sessions import training_counts
from modit.data.vectors import unit
from modit.semantic_ids.params import TokenizerParams
from modit.semantic_ids.session_vectors import joined_vectors, session_vectors
from modit.semantic_ids.tokenizer import tokenize

ITEMS, GROUPS = 60, 4


@pytest.fixture(scope="module")
def training() -> Sequences:
    """Sessions of items of one group; the last 6 items are in none."""
    rng = np.random.default_rng(0)
    group = np.arange(ITEMS - 6) % GROUPS
    sessions = [rng.permutation(np.flatnonzero(group == own))[:6] for own in rng.integers(GROUPS, size=300)]
    return Sequences(np.arange(301) * 6, np.concatenate(sessions).astype(np.int32))


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    return unit(np.random.default_rng(1).standard_normal((ITEMS, 16))).astype(np.float32)


def test_items_of_the_same_sessions_are_near_and_others_are_not(training):
    vectors = session_vectors(training, ITEMS, GROUPS)
    group = np.arange(ITEMS - 6) % GROUPS
    near = vectors[: ITEMS - 6] @ vectors[: ITEMS - 6].T
    assert near[group[:, None] == group].min() > 0.9
    assert near[group[:, None] != group].max() < 0.3
    assert (vectors[ITEMS - 6 :] == 0).all()
    assert np.array_equal(vectors, session_vectors(training, ITEMS, GROUPS))


def test_without_a_session_of_two_items_there_are_no_session_vectors(embeddings):
    alone = Sequences(np.array([0, 1, 2]), np.array([3, 4], np.int32))
    assert session_vectors(alone, ITEMS, 8) is None
    assert joined_vectors(embeddings, alone, training_counts(alone, ITEMS), 0.5, 8) is None


def test_a_new_item_gets_what_an_item_without_interactions_has(training, embeddings):
    counts = training_counts(training, ITEMS)
    joined = joined_vectors(embeddings, training, counts, 0.5, 8)
    unused = counts == 0
    assert unused.any()
    assert np.allclose(joined.vectors[unused], embeddings[unused] @ joined.projection.T, atol=1e-5)
    assert not np.allclose(joined.vectors[~unused], embeddings[~unused] @ joined.projection.T, atol=0.1)


@pytest.mark.parametrize("base", ["kmeans", "rqvae"])
def test_the_quantiser_takes_embeddings_and_gives_unused_items_the_codes_that_they_have(training, embeddings, base):
    counts = training_counts(training, ITEMS)
    params = TokenizerParams(method="rq", base=base, sizes=(4, 8), steps=20, session_share=0.7, session_width=8)
    quantizer, codes = tokenize(embeddings, counts, np.arange(ITEMS) / ITEMS, params, 0, training)
    assert quantizer.dimension == embeddings.shape[1]
    assert np.array_equal(quantizer.assign(embeddings)[counts == 0], codes.codes[counts == 0])


def test_items_that_are_used_together_share_their_first_code(training, embeddings):
    counts = training_counts(training, ITEMS)
    params = TokenizerParams(method="rq", sizes=(3 * GROUPS, 8), session_share=0.9)
    _, codes = tokenize(embeddings, counts, np.arange(ITEMS) / ITEMS, params, 0, training)
    group, first = np.arange(ITEMS - 6) % GROUPS, codes.codes[: ITEMS - 6, 0]
    largest = [np.bincount(group[first == code]).max() for code in np.unique(first)]
    assert sum(largest) / len(group) > 0.95
