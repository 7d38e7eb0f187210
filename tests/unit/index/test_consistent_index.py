"""The consistent index: lists by the query view, codes in the item view, and nothing else than an IVF-PQ at a query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ArtifactError, ContractError
from modit.data.vectors import unit
from modit.index.consistent_index import ConsistentIndex, nearest_list
from modit.index.params import ConsistentIndexParams

DIMENSION, ITEMS = 16, 600


def params(**values) -> ConsistentIndexParams:
    return ConsistentIndexParams(**{"lists": 12, "pieces": 8, "iterations": 5} | values)


@pytest.fixture(scope="module")
def views() -> tuple[np.ndarray, np.ndarray]:
    """Two views of the same clusters, turned against each other: cells of one are not those of the other."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((12, DIMENSION))[rng.integers(0, 12, ITEMS)]
    item = unit(centres + 0.5 * rng.standard_normal((ITEMS, DIMENSION)))
    turn = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0]
    return unit(item @ turn + 0.3 * rng.standard_normal((ITEMS, DIMENSION))), item


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit(np.random.default_rng(1).standard_normal((20, DIMENSION)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), space=st.sampled_from(["query", "item"]), lists=st.integers(1, 40))
def test_an_item_is_in_the_list_of_the_centroid_nearest_to_it_in_the_view_of_the_lists(views, seed, space, lists):
    index = ConsistentIndex.build(*views, params(space=space, lists=lists, iterations=2), seed)
    view = views[0] if space == "query" else views[1]
    np.testing.assert_array_equal(index.assigned, nearest_list(view, index.centroids))
    assert index.sizes.sum() == ITEMS


@pytest.mark.parametrize("space", ["query", "item"])
@pytest.mark.parametrize("residual", ["mean", "centroid"])
def test_scores_are_those_of_the_item_view_up_to_its_codes(views, queries, space, residual):
    exact = queries @ views[1].T
    errors = []
    for pieces in (2, DIMENSION):
        index = ConsistentIndex.build(*views, params(space=space, residual=residual, pieces=pieces), 0)
        scores, rows = index.search(queries, ITEMS, probes=12)
        assert (np.sort(rows, 1) == np.arange(ITEMS)).all()
        errors.append(np.abs(scores - np.take_along_axis(exact, rows, 1)).mean())
    assert errors[1] < 0.005 and errors[1] < errors[0] / 5


def test_a_query_scans_the_lists_of_the_centroids_nearest_to_it_and_no_others(views, queries):
    index = ConsistentIndex.build(*views, params(), 0)
    _, rows = index.search(queries, ITEMS, probes=3)
    visited = np.argsort(-(queries @ index.centroids.T), 1)[:, :3]
    for found, lists in zip(rows, visited, strict=True):
        assert set(found[found >= 0]) == set(np.flatnonzero(np.isin(index.assigned, lists)))


def test_the_plain_index_does_not_read_the_query_view(views, queries):
    other = (views[0][::-1].copy(), views[1])
    first, second = (ConsistentIndex.build(*each, params(space="item"), 0) for each in (views, other))
    np.testing.assert_array_equal(first.search(queries, 10)[1], second.search(queries, 10)[1])


def test_files_read_back_with_the_same_answers_and_the_same_bytes(views, queries, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        ConsistentIndex.build(*views, params(), 0).save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    again, built = ConsistentIndex.load(tmp_path / "a"), ConsistentIndex.build(*views, params(), 0)
    np.testing.assert_array_equal(again.search(queries, 5)[1], built.search(queries, 5)[1])
    (tmp_path / "a" / "centroids.npy").unlink()
    with pytest.raises(ArtifactError, match=r"centroids.npy is missing; run step stage_consistent_index"):
        ConsistentIndex.load(tmp_path / "a")


def test_one_item_and_more_results_than_items_are_answered(views):
    index = ConsistentIndex.build(views[0][:1], views[1][:1], params(), 0)
    assert index.search(views[0][:1], 3)[1].tolist() == [[0, -1, -1]]


def test_bad_vectors_and_numbers_are_refused_by_name(views, queries):
    broken = views[1].copy()
    broken[7, 3] = np.nan
    with pytest.raises(ContractError, match="the item view of 1 items is not finite, the first is row 7"):
        ConsistentIndex.build(views[0], broken, params(), 0)
    with pytest.raises(ContractError, match=r"shapes \(5, 16\) and \(600, 16\)"):
        ConsistentIndex.build(views[0][:5], views[1], params(), 0)
    with pytest.raises(ContractError, match="pieces is 5; allowed: a divisor of the dimension, 16"):
        ConsistentIndex.build(*views, params(pieces=5), 0)
    index = ConsistentIndex.build(*views, params(), 0)
    for query, k, probes in ((queries * np.nan, 1, 1), (queries[:, :3], 1, 1), (queries, 0, 1), (queries, 1, 0)):
        with pytest.raises(ContractError, match="allowed"):
            index.search(query, k, probes)
