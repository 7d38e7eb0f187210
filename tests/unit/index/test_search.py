"""The exact kind equals brute force, whatever the mask, the excluded rows, the ties and the path taken by size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ContractError
from modit.index.exact import exact_search
from modit.index.item_index import ItemIndex
from modit.index.narrow import ByteCopy, HalfCopy, NarrowCopy, narrow_copy
from modit.index.params import IndexParams


def _unit(count: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _flat(embeddings: np.ndarray) -> ItemIndex:
    return ItemIndex.build(embeddings, np.arange(len(embeddings)).astype(str), IndexParams(kind="flat"))


def _brute_force(embeddings: np.ndarray, queries: np.ndarray, k: int, hidden: np.ndarray) -> np.ndarray:
    """Rows by float64 score, ties by row; `hidden` [B, N] are never returned."""
    scores = queries.astype(np.float64) @ embeddings.astype(np.float64).T
    scores[hidden] = -np.inf
    rows = np.full((len(queries), k), -1, np.int64)
    for query, row in enumerate(scores):
        best = np.lexsort((np.arange(len(row)), -row))[:k]
        best = best[np.isfinite(row[best])]
        rows[query, : len(best)] = best
    return rows


@settings(max_examples=40, deadline=None)
@given(
    items=st.integers(1, 300),
    queries=st.integers(1, 40),
    k=st.integers(1, 30),
    excluded=st.integers(0, 5),
    share=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_search_equals_brute_force_under_mask_and_exclusion(
    items: int, queries: int, k: int, excluded: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Signed unit vectors and small integers: scores are exact, ties are many.
    embeddings = np.eye(8, dtype=np.float32)[rng.integers(0, 8, items)] * rng.choice([-1, 1], (items, 1)).astype(
        np.float32
    )
    wanted = rng.integers(-2, 3, (queries, 8)).astype(np.float32)
    allowed = rng.random(items) < share
    unwanted = rng.integers(-1, items, (queries, excluded))
    hidden = np.tile(~allowed, (queries, 1))
    for query, rows in enumerate(unwanted):
        hidden[query, rows[rows >= 0]] = True
    found = _flat(embeddings).search(wanted, k, allowed, unwanted)
    expected = _brute_force(embeddings, wanted, k, hidden)
    assert np.array_equal(found.rows, expected)
    assert found.missing == (expected < 0).sum()
    assert np.array_equal(np.isneginf(found.scores), expected < 0)


@pytest.mark.parametrize("items", [2_000, 12_345, 60_001])
@pytest.mark.parametrize("queries", [3, 300])
def test_every_path_by_size_equals_brute_force_with_duplicates(items: int, queries: int) -> None:
    embeddings = _unit(items, 16, 0)
    embeddings[1::3] = embeddings[::3][: len(embeddings[1::3])]
    wanted = embeddings[:queries] + 0.1 * _unit(queries, 16, 1)
    scores, rows = exact_search(embeddings, wanted, 25)
    expected = _brute_force(embeddings, wanted, 25, np.zeros((queries, items), bool))
    assert np.array_equal(rows, expected)
    truth = np.einsum("bd,bkd->bk", wanted, embeddings[expected])
    assert np.allclose(scores, truth, atol=1e-5)


def test_a_list_that_ties_far_beyond_k_takes_the_lowest_rows() -> None:
    embeddings = np.tile(_unit(1, 16, 0), (20_000, 1))
    _, rows = exact_search(embeddings, _unit(20, 16, 1), 10)
    assert np.array_equal(rows, np.tile(np.arange(10), (20, 1)))


def test_scores_do_not_depend_on_the_batch_or_the_mask() -> None:
    embeddings, queries = _unit(40_000, 64, 0), _unit(64, 64, 1)
    index = _flat(embeddings)
    whole = index.search(queries, 10)
    alone = index.search(queries[5:6], 10)
    allowed = np.zeros(len(embeddings), bool)
    allowed[whole.rows[5]] = True
    masked = index.search(queries[5:6], 10, allowed)
    for other in (alone, masked):
        assert np.array_equal(other.rows[0], whole.rows[5])
        assert np.array_equal(other.scores[0], whole.scores[5])


@settings(max_examples=40, deadline=None)
@given(
    items=st.integers(1, 400),
    queries=st.integers(1, 15),
    k=st.integers(1, 30),
    spread=st.sampled_from([0.0, 1e-6, 1e-4, 1e-3, 1.0]),
    share=st.floats(0, 1),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from([ByteCopy, HalfCopy]),
)
def test_a_narrow_copy_changes_no_answer(
    items: int, queries: int, k: int, spread: float, share: float, seed: int, kind: Callable[[np.ndarray], NarrowCopy]
) -> None:
    # Items within less of each other than a copy can tell.
    embeddings = _unit(1, 24, seed) + np.float32(spread) * _unit(items, 24, seed + 1)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    wanted, narrow = _unit(queries, 24, seed + 2), kind(embeddings)
    for found, expected in zip(
        exact_search(embeddings, wanted, k, narrow), exact_search(embeddings, wanted, k), strict=True
    ):
        assert np.array_equal(found, expected)
    allowed = np.random.default_rng(seed).random(items) < share
    expected = exact_search(embeddings, wanted, k, allowed=allowed)
    for found, other in zip(exact_search(embeddings, wanted, k, narrow, allowed), expected, strict=True):
        assert np.array_equal(found, other)


@pytest.mark.parametrize(("kind", "error"), [(ByteCopy, 0.02), (HalfCopy, 2**-11)])
@pytest.mark.parametrize("dimension", [7, 32, 768])
def test_no_score_of_a_narrow_copy_is_off_by_more_than_its_bound_says(
    kind: Callable[[np.ndarray], ByteCopy | HalfCopy], error: float, dimension: int
) -> None:
    embeddings, queries = _unit(5_000, dimension, 0), _unit(4, dimension, 1)
    narrow = kind(embeddings)
    rows, least = narrow.scan(queries, 100)
    others = np.ones((4, 5_000), bool)
    np.put_along_axis(others, rows, False, axis=1)
    exact = queries.astype(np.float64) @ embeddings.astype(np.float64).T
    assert 0 < narrow.error < error
    assert (np.where(others, exact, -np.inf).max(1) <= least + 1e-6).all()


def test_codes_at_the_end_of_their_range_keep_the_bound() -> None:
    corner = np.where(np.random.default_rng(0).random((2_000, 128)) < 0.5, -1, 1).astype(np.float32) / np.sqrt(128)
    _, least = ByteCopy(corner).scan(corner[:3], 100)
    exact = np.sort(corner[:3] @ corner.T, axis=1)
    assert (np.abs(least - exact[:, -400]) < 1e-5).all()  # nothing is rounded: the bound is the last score itself


def test_vectors_that_bytes_cannot_tell_apart_are_copied_in_half_precision() -> None:
    spread = _unit(5_000, 32, 0)
    outlier = spread * np.float32(0.02)
    outlier[:, 0] = 1  # one number takes all of the scale
    outlier /= np.linalg.norm(outlier, axis=1, keepdims=True)
    assert isinstance(narrow_copy(spread), ByteCopy)
    assert isinstance(narrow_copy(outlier), HalfCopy)


def test_another_mask_replaces_the_copy_of_the_last_one() -> None:
    index = _flat(_unit(100, 8, 0))
    even = np.arange(100) % 2 == 0
    queries = _unit(20, 8, 1)
    for allowed in (even, ~even, even):
        assert allowed[index.search(queries, 20, allowed).rows].all()


def test_excluded_rows_may_come_as_a_list_of_unequal_arrays() -> None:
    index = _flat(_unit(10, 8, 0))
    found = index.search(_unit(2, 8, 1), 10, exclude=[np.array([3]), np.array([0, 1, 2])])
    assert set(found.rows[0]) == set(range(10)) - {3} | {-1}
    assert set(found.rows[1]) == set(range(3, 10)) | {-1}


@pytest.mark.parametrize("kind", ["ivf", "ivf_sq8"])
def test_inverted_kinds_keep_to_mask_and_exclusion(kind: str) -> None:
    embeddings = _unit(12_000, 8, 0)
    config = IndexParams(kind=kind, recall_target=0.05, calibration_k=10, max_probe_share=1.0, threads=1)
    index = ItemIndex.build(embeddings, np.arange(12_000).astype(str), config)
    assert index.kind == kind
    allowed = np.arange(12_000) % 3 == 0
    queries = embeddings[allowed][:20]
    own = np.flatnonzero(allowed)[:20, None]
    found = index.search(queries, 10, allowed, own)
    assert (found.rows >= 0).any()
    assert allowed[found.rows[found.rows >= 0]].all()
    assert not (found.rows == own).any()


def test_few_queries_under_a_mask_have_the_answers_and_scores_of_many_and_need_no_copy() -> None:
    embeddings, queries = _unit(20_000, 16, 0), _unit(30, 16, 1)
    embeddings[1::3] = embeddings[::3][: len(embeddings[1::3])]
    for share in (0.0001, 0.01, 0.5, 0.99):
        allowed = np.random.default_rng(3).random(len(embeddings)) < share
        many = _flat(embeddings).search(queries, 25, allowed)
        index = _flat(embeddings)
        few = [index.search(query[None], 25, allowed) for query in queries]
        assert np.array_equal(many.rows, np.concatenate([each.rows for each in few]))
        assert np.array_equal(many.scores, np.concatenate([each.scores for each in few]))
        assert index._searched.__self__._allowed is None


def test_an_inverted_kind_finds_what_a_mask_leaves_wherever_it_lies() -> None:
    embeddings = _unit(12_000, 8, 0)
    config = IndexParams(kind="ivf", recall_target=0.05, calibration_k=10, max_probe_share=1.0, threads=1)
    index = ItemIndex.build(embeddings, np.arange(12_000).astype(str), config)
    allowed = np.zeros(12_000, bool)
    allowed[[5, 4_000, 11_000]] = True
    assert index.meta.nprobe < index.meta.nlist
    for k in (2, 3, 5):
        found = index.search(embeddings[:4], k, allowed)
        assert ((found.rows >= 0).sum(1) == min(k, 3)).all()


@pytest.mark.parametrize(
    ("queries", "k", "allowed", "exclude", "message"),
    [
        (np.ones((2, 7), np.float32), 1, None, None, r"\[B, 8\]"),
        (np.ones((2, 8), np.float32), 0, None, None, "k is 0"),
        (np.full((2, 8), np.nan, np.float32), 1, None, None, "2 queries are not finite"),
        (np.ones((2, 8), np.float32), 1, np.ones(9, bool), None, r"bool \[10\]"),
        (np.ones((2, 8), np.float32), 1, None, np.ones((3, 1), np.int64), "exclude has 3"),
    ],
)
def test_a_wrong_call_is_refused_by_name(
    queries: np.ndarray, k: int, allowed: np.ndarray | None, exclude: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        _flat(_unit(10, 8, 0)).search(queries, k, allowed, exclude)
