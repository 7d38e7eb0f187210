"""The four quantisers: what they keep frozen, when an ID ends, and inputs that they cannot use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modit.core.errors import ArtifactError, InsufficientDataError
from modit.index.paths import BudgetStop, FixedDepth, PathTable, RatioStop
from modit.index.quantizer import Quantizer, nearest
from modit.semantic_ids.codebooks import fit_codebook
from modit.semantic_ids.params import TokenizerParams
from modit.semantic_ids.quantizers import fit_quantizer, popular_items
from modit.semantic_ids.rqvae import residual_losses
from modit.semantic_ids.tokenizer import describe, tokenize

METHODS = ("rq", "sarq", "acrq", "sa2crq")
BASES = ("kmeans", "rqvae")


def table_of(codes, sizes=(4, 4, 4)) -> PathTable:
    return PathTable.of(np.array(codes, np.int32), sizes)


@given(
    codes=st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=60),
    shared=st.integers(0, 20),
    first=st.integers(1, 3),
)
def test_the_ratio_tau_and_budgets_of_minus_log_tau_stop_at_the_same_places(codes, shared, first):
    table, tau = table_of(codes), shared / len(codes)
    budget = -np.log(tau) if tau else np.inf
    codes = np.array([*codes, (3, 0, 3)], np.int32)
    if tau == 0:
        return  # no prefix that occurs has no item; one that does not occur is told apart below
    budgets = tuple(np.inf if layer <= first else budget for layer in (2, 3))
    for depth in (1, 2):
        by_ratio = RatioStop(tau, first).continues(table, codes, depth)
        assert by_ratio.tolist() == BudgetStop(budgets).continues(table, codes, depth).tolist()


def test_self_information_is_the_negative_log_of_the_share_of_items_with_the_prefix():
    table = table_of([[0, 1, 2], [0, 1, 3], [0, 2, 0], [1, 0, 0]])
    asked = np.array([[0, 1, 2], [1, 0, 0], [2, 0, 0]], np.int32)
    assert np.allclose(table.self_information(asked, 2), [-np.log(2 / 4), -np.log(1 / 4), np.inf])
    assert table.count(asked, 1).tolist() == [3, 1, 0]
    smooth = PathTable.of(np.array([[0, 1, 2]], np.int32), (4, 4, 4), smoothing=1.0)
    assert np.allclose(smooth.self_information(np.array([[1, 1, 1]]), 1), -np.log(1 / 5))


def test_an_id_ends_where_few_items_share_its_prefix_and_goes_on_where_many_do(items, params_of):
    _, codes = tokenize(items.vectors, items.counts, items.ties, params_of("sarq", items_per_prefix=6.0), seed=0)
    for row, length in zip(codes.codes, codes.lengths, strict=True):
        alike = (codes.codes[:, :2] == row[:2]).all(1).sum()
        assert length == (3 if alike > 6 else 2)
    assert set(codes.lengths) == {2, 3}


def test_more_items_per_prefix_make_fewer_and_shorter_ids(items, params_of):
    made = [
        tokenize(items.vectors, items.counts, items.ties, params_of("sarq", items_per_prefix=limit), seed=0)[1]
        for limit in (1.0, 8.0, 1000.0)
    ]
    assert [len(codes.trie.item_offsets) for codes in made] == sorted(
        (len(codes.trie.item_offsets) for codes in made), reverse=True
    )
    assert set(made[-1].lengths) == {2}


@pytest.mark.parametrize("base", BASES)
def test_anchors_are_the_same_to_the_bit_after_stage_two_and_popular_items_keep_their_ids(items, params_of, base):
    params = params_of("acrq", base=base)
    head = popular_items(items.counts, params.head_share)
    quantizer = fit_quantizer(items.vectors, items.counts, params, seed=0)
    alone = fit_quantizer(items.vectors, items.counts, params_of("acrq", base=base, new_share=0.0), seed=0)
    assert alone.sizes == quantizer.anchors
    for before, after in zip(alone.codebooks, quantizer.codebooks, strict=True):
        assert after[: len(before)].tobytes() == before.tobytes()
        assert len(after) > len(before)
    kept = alone.assign(items.vectors[head])
    assert np.array_equal(quantizer.assign(items.vectors, head)[head], kept)


def test_gradients_of_the_codebook_loss_reach_new_codewords_only():
    torch.manual_seed(0)
    codebooks = [nn.Parameter(torch.randn(6, 4)) for _ in range(2)]
    table = PathTable.of(np.zeros((1, 2), np.int32), (6, 6))
    loss = residual_losses(torch.randn(64, 4), codebooks, FixedDepth(), table, anchors=(4, 4))[1]
    loss.backward()
    for codebook in codebooks:
        assert (codebook.grad[:4] == 0).all()
        assert (codebook.grad[4:] != 0).any()


def test_losses_of_an_item_count_only_the_layers_that_its_id_has():
    torch.manual_seed(0)
    codebooks = [nn.Parameter(torch.randn(3, 4)) for _ in range(3)]
    latent = torch.randn(20, 4)
    table = PathTable.of(np.zeros((1, 3), np.int32), (3, 3, 3))
    short = residual_losses(latent, codebooks, RatioStop(1.0, full_layers=2), table)
    two = residual_losses(latent, codebooks[:2], FixedDepth(), table)
    for found, expected in zip(short, two, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("base", BASES)
def test_stage_two_brings_other_items_nearer_to_their_codewords(items, params_of, base):
    params = params_of("acrq", base=base)
    tail = items.vectors[~popular_items(items.counts, params.head_share)]

    def error(quantizer: Quantizer) -> float:
        codes, latent = quantizer.assign(tail), quantizer.encode(tail)
        parts = sum(codebook[codes[:, layer]] for layer, codebook in enumerate(quantizer.codebooks))
        return float(((latent - parts) ** 2).sum(1).mean())

    extended = fit_quantizer(items.vectors, items.counts, params, seed=0)
    alone = fit_quantizer(items.vectors, items.counts, params_of("acrq", base=base, new_share=0.0), seed=0)
    assert error(extended) < error(alone)


def test_residual_k_means_of_more_layers_is_nearer_to_the_vectors(items, params_of):
    errors = []
    for sizes in ((8,), (8, 12), (8, 12, 16)):
        quantizer = fit_quantizer(items.vectors, items.counts, params_of("rq", sizes=sizes), seed=0)
        codes = quantizer.assign(items.vectors)
        parts = sum(book[codes[:, layer]] for layer, book in enumerate(quantizer.codebooks))
        errors.append(float(((items.vectors - parts) ** 2).sum(1).mean()))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_the_same_bytes_another_seed_others_and_the_file_the_same_codes(
    items, params_of, method, base, tmp_path
):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        params = params_of(method, base=base)
        quantizer, codes = tokenize(items.vectors, items.counts, items.ties, params, seed)
        quantizer.save(tmp_path / f"{name}.npz")
        codes.save(tmp_path / f"{name}_codes.npz")
    for kind in ("", "_codes"):
        a, b, c = ((tmp_path / f"{name}{kind}.npz").read_bytes() for name in "abc")
        assert a == b != c
    loaded = Quantizer.load(tmp_path / "c.npz")
    assert np.array_equal(loaded.assign(items.vectors), quantizer.assign(items.vectors))


def test_giving_out_ids_leaves_the_vectors_as_they_are(items, params_of):
    before = items.vectors.copy()
    fit_quantizer(items.vectors, items.counts, params_of(), seed=0).assign(items.vectors)
    assert np.array_equal(items.vectors, before)


@pytest.mark.parametrize("method", METHODS)
def test_a_new_item_gets_the_id_of_its_twin_without_training(items, params_of, method):
    quantizer = fit_quantizer(items.vectors[1:], items.counts[1:], params_of(method), seed=0)
    new = quantizer.assign(items.vectors[:1])
    assert (new[0, 0] >= 0, new.shape) == (True, (1, 3))
    twin = quantizer.assign(items.vectors[[5, 5]])
    assert np.array_equal(twin[0], twin[1])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("vectors", [np.ones((30, 4), np.float32), np.ones((1, 4), np.float32)])
def test_embeddings_that_are_all_equal_are_refused(params_of, vectors, base):
    with pytest.raises(InsufficientDataError, match="embeddings: .* need at least 2 different ones"):
        fit_quantizer(vectors, np.ones(len(vectors), np.int64), params_of("rq", base=base), seed=0)


@pytest.mark.parametrize("method", METHODS)
def test_codebooks_become_smaller_where_there_are_fewer_different_items_than_codewords(params_of, method):
    vectors = np.repeat(np.eye(3, 4, dtype=np.float32), 4, axis=0)
    quantizer, codes = tokenize(vectors, np.arange(1, 13), np.arange(12) / 12, params_of(method), seed=0)
    assert quantizer.sizes[0] <= 3
    assert len(codes.trie.item_offsets) - 1 == 3  # equal items share an ID, others do not


def test_no_interactions_are_refused_by_the_methods_that_need_popular_items(items, params_of):
    counts = np.zeros_like(items.counts)
    with pytest.raises(
        InsufficientDataError, match="methods acrq and sa2crq need popular items, rq and sarq do without"
    ):
        fit_quantizer(items.vectors, counts, params_of("sa2crq"), seed=0)
    fit_quantizer(items.vectors, counts, params_of("sarq"), seed=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"collisions": "suffix", "method": "sarq"}, "allowed: suffix with rq and acrq only"),
        ({"budgets": (1.0,)}, "budgets has 1 values; allowed: 2, sizes less one"),
        ({"sizes": (2**20,) * 4}, "make too many IDs"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TokenizerParams(**values)


def test_a_quantiser_file_that_is_missing_or_broken_is_refused_by_name(tmp_path):
    with pytest.raises(ArtifactError, match="q.npz: no quantiser"):
        Quantizer.load(tmp_path / "q.npz")
    (tmp_path / "q.npz").write_bytes(b"none")
    with pytest.raises(ArtifactError, match="q.npz"):
        Quantizer.load(tmp_path / "q.npz")


def test_a_frozen_codeword_takes_points_but_never_moves():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 0.1, (50, 2)), rng.normal(5, 0.1, (50, 2))]).astype(np.float32)
    anchors = np.array([[0.5, 0.5]], np.float32)
    book = fit_codebook(points, 1, 20, rng, anchors)
    assert book[0].tobytes() == anchors[0].tobytes()
    assert np.allclose(book[1], points[50:].mean(0), atol=1e-5)
    assert (nearest(points, book) == np.repeat([0, 1], 50)).all()


def test_figures_say_that_popular_items_have_longer_ids_where_they_are_crowded(items, params_of):
    _, codes = tokenize(items.vectors, items.counts, items.ties, params_of("sa2crq", items_per_prefix=2.0), seed=0)
    found = describe(codes, 0.8)
    assert (found["items"], found["ids"]) == (len(codes), len(codes.trie.item_offsets) - 1)
    assert found["items_per_id"]["mean"] == pytest.approx(len(codes) / found["ids"], abs=1e-3)
    assert 2 <= found["mean_length_tail"] <= 3
