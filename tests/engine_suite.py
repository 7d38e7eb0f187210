"""What every adapter to an index engine must do: its test module imports these tests, and gives the fixture `address`.

`address(name)` is the address of a collection that does not exist yet, in an engine that runs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from modit.core.errors import ArtifactError, ContractError
from modit.index.engines.collection import Batch, Collection, EngineAddress, EngineError, open_collection
from modit.index.engines.engine_index import EngineIndex, expect_same_items
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.index.searchable import SearchableIndex
from modit.index.storage import TopK

ITEMS, DIMENSION = 1_500, 16
NAMES = ("o'neill", 'a "quoted" id', "naïve ☕", "0012", "12", "x; DROP TABLE items", "%s", "{id}")


def unit_vectors(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def item_ids(count: int = ITEMS) -> np.ndarray:
    return np.array([*NAMES, *(f"item-{number}" for number in range(count - len(NAMES)))])


EMBEDDINGS, IDS = unit_vectors(ITEMS, 0), item_ids()
QUERIES = unit_vectors(20, 1)


def batches(ids: np.ndarray, vectors: np.ndarray, size: int = 400) -> Iterator[Batch]:
    for start in range(0, len(ids), size):
        yield Batch(ids[start : start + size], vectors[start : start + size])


def stored(address: str, ids: np.ndarray = IDS, vectors: np.ndarray = EMBEDDINGS) -> Collection:
    collection = open_collection(EngineAddress.parse(address))
    collection.upsert(batches(ids, vectors))
    return collection


def over(collection: Collection, ids: np.ndarray = IDS) -> EngineIndex:
    return EngineIndex(collection, ids, DIMENSION, "0" * 64)


def expect_equal(found: TopK, wanted: TopK) -> None:
    """Equal to the item, but for the order of scores that are equal within rounding."""
    assert np.array_equal(found.rows < 0, wanted.rows < 0)
    assert np.allclose(found.scores, wanted.scores, atol=2e-6)
    for ours, theirs, scores in zip(found.rows, wanted.rows, wanted.scores, strict=True):
        gaps = np.abs(np.diff(np.where(theirs < 0, -9, scores)))
        apart = np.concatenate([[True], gaps > 4e-6, [True]])
        sure = (apart[:-1] & apart[1:]) | (theirs < 0)
        assert np.array_equal(ours[sure], theirs[sure])


@pytest.fixture(scope="session")
def flat() -> ItemIndex:
    """FAISS, which is exact: the reference."""
    return ItemIndex.build(EMBEDDINGS, IDS, IndexParams(kind="flat", threads=1))


@pytest.fixture(scope="module")
def index(address) -> SearchableIndex:
    """Made once: no test changes it."""
    return over(stored(address("catalogue")))


@pytest.mark.parametrize("queries", [1, 20])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_an_exact_search_finds_the_items_and_scores_that_faiss_finds(index, flat, queries, k):
    expect_equal(index.search(QUERIES[:queries], k), flat.search(QUERIES[:queries], k))


def test_queries_of_any_length_have_the_inner_product_as_their_score(index, flat):
    longer = QUERIES * np.linspace(0.5, 3, len(QUERIES), dtype=np.float32)[:, None]
    found, wanted = index.search(longer, 10), flat.search(longer, 10)
    assert np.allclose(found.scores, wanted.scores, atol=1e-5) and (found.rows == wanted.rows).mean() > 0.99


@pytest.mark.parametrize("share", [0.003, 0.3, 0.9, 0.999])
def test_only_allowed_items_are_found_and_as_many_as_there_are(index, flat, share):
    allowed = np.random.default_rng(2).random(ITEMS) < share
    for k in (5, 40):
        expect_equal(index.search(QUERIES, k, allowed), flat.search(QUERIES, k, allowed))


def test_a_filter_that_allows_only_what_is_far_away_is_satisfied(index, flat):
    allowed = EMBEDDINGS @ QUERIES[0] < 0.3
    assert allowed.sum() > 1_000
    expect_equal(index.search(QUERIES[:1], 10, allowed), flat.search(QUERIES[:1], 10, allowed))


def test_a_filter_that_allows_nothing_finds_nothing(index):
    found = index.search(QUERIES, 3, np.zeros(ITEMS, bool))
    assert found.rows.shape == (20, 3) and (found.rows == -1).all() and np.isneginf(found.scores).all()


def test_excluded_rows_are_never_found(index, flat):
    best = flat.search(QUERIES, 10).rows
    allowed = np.random.default_rng(3).random(ITEMS) < 0.8
    for mask in (None, allowed):
        ragged = [rows[: number % 11] for number, rows in enumerate(best)]
        for exclude in (best, ragged, [np.empty(0, np.int64)] * 20):
            expect_equal(index.search(QUERIES, 10, mask, exclude), flat.search(QUERIES, 10, mask, exclude))


def test_k_beyond_the_collection_finds_everything_once(index, flat):
    found = index.search(QUERIES[:2], ITEMS + 50)
    assert found.rows.shape == (2, ITEMS + 50) and found.missing == 100
    expect_equal(found, flat.search(QUERIES[:2], ITEMS + 50))


def test_an_id_is_any_text(index):
    vectors = index.search(EMBEDDINGS[: len(NAMES)], 1)
    assert index.item_ids[vectors.rows[:, 0]].tolist() == list(NAMES)
    only = np.zeros(ITEMS, bool)
    only[: len(NAMES)] = True
    assert set(index.search(QUERIES[:1], 50, only).rows[0].tolist()) == {-1, *range(len(NAMES))}


def test_bad_input_is_refused_by_name(index):
    for message, asked in {
        "queries have shape": (QUERIES[:, :-1], 3),
        "k is 0": (QUERIES, 0),
        "allowed is": (QUERIES, 3, np.ones(3, bool)),
        "not finite": (np.full((1, DIMENSION), np.nan, np.float32), 3),
        "exclude has 1 entries": (QUERIES, 3, None, [np.empty(0)]),
    }.items():
        with pytest.raises(ContractError, match=message):
            index.search(*asked)
    assert index.search(np.empty((0, DIMENSION), np.float32), 3).rows.shape == (0, 3)


def test_many_threads_may_search_at_the_same_time(index, flat):
    wanted, wrong = flat.search(QUERIES, 10), []

    def ask(number: int) -> None:
        for query in range(number, 20, 4):
            found = index.search(QUERIES[query : query + 1], 10)
            if not np.allclose(found.scores[0], wanted.scores[query], atol=2e-6):
                wrong.append(query)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_upsert_adds_new_items_and_replaces_known_ones(address):
    collection = stored(address("changing"), IDS[:100], EMBEDDINGS[:100])
    assert collection.count() == 100
    moved = unit_vectors(60, 5)
    collection.upsert(batches(IDS[50:110], moved, 25))
    assert collection.count() == 110
    vectors = collection.vectors([*IDS[40:60].tolist(), "unknown"])
    assert set(vectors) == set(IDS[40:60].tolist())
    for number, item_id in enumerate(IDS[40:60].tolist()):
        wanted = EMBEDDINGS[40 + number] if number < 10 else moved[number - 10]
        assert np.allclose(vectors[item_id], wanted, atol=1e-6)
    (hits,) = collection.search(moved[59:60], 1)
    assert hits.item_ids == [IDS[109]]


def test_a_generation_answers_the_same_while_the_next_one_is_written(address, flat):
    base = EngineAddress.parse(address("nightly"))
    first, second = (open_collection(base.at(name)) for name in ("aaaa", "bbbb"))
    first.upsert(batches(IDS, EMBEDDINGS))
    seen = []

    def slowly() -> Iterator[Batch]:
        for each in batches(IDS, EMBEDDINGS[::-1]):
            expect_equal(over(first).search(QUERIES, 5), flat.search(QUERIES, 5))
            seen.append(open_collection(base.at("bbbb")).count())
            yield each

    second.upsert(slowly())
    assert seen == [None] * 4 and second.count() == ITEMS
    expect_equal(over(first).search(QUERIES, 5), flat.search(QUERIES, 5))
    assert (over(second).search(EMBEDDINGS[-1:], 1).rows == 0).all()
    first.drop()
    first.drop()
    assert first.count() is None and second.count() == ITEMS


def test_a_write_that_fails_changes_nothing(address):
    def broken(count: int) -> Iterator[Batch]:
        yield from batches(IDS[:count], unit_vectors(count, 7), 50)
        raise OSError("the source is gone")

    collection = open_collection(EngineAddress.parse(address("broken")))
    with pytest.raises((OSError, EngineError)):
        collection.upsert(broken(100))
    assert collection.count() is None
    collection.upsert(batches(IDS[:100], EMBEDDINGS[:100]))
    with pytest.raises((OSError, EngineError)):
        collection.upsert(broken(200))
    assert collection.count() == 100
    assert np.allclose(collection.vectors([IDS[3]])[IDS[3]], EMBEDDINGS[3], atol=1e-6)


def test_an_approximate_index_fills_its_lists_and_an_exact_search_passes_it_by(address, flat):
    collection = stored(address("indexed") + "&effort=4")
    collection.accelerate()
    index, wanted = over(collection), flat.search(QUERIES, 10)
    found = index.search(QUERIES, 10)
    assert found.missing == 0 and (found.rows[:, :, None] == wanted.rows[:, None]).any(1).mean() > 0.3
    for allowed in (EMBEDDINGS @ QUERIES[0] < 0.3, np.arange(ITEMS) % 100 == 0):
        assert index.search(QUERIES[:1], 10, allowed).missing == 0
    assert index.search(QUERIES[:2], ITEMS).missing == 0
    exact = collection.search(QUERIES, 10, exact=True)
    assert [set(hits.item_ids) for hits in exact] == [set(IDS[rows].tolist()) for rows in wanted.rows]


def test_items_that_the_catalogue_lacks_are_left_out_and_places_are_filled(address, flat):
    extra = np.array([f"new-{number}" for number in range(300)])
    near = QUERIES[np.arange(300) % 20] + 0.01 * unit_vectors(300, 8)
    vectors = np.concatenate([EMBEDDINGS, near / np.linalg.norm(near, axis=1, keepdims=True)])
    collection = stored(address("live"), np.concatenate([IDS, extra]), vectors)
    expect_equal(over(collection).search(QUERIES, 10), flat.search(QUERIES, 10))
    expect_same_items(collection, IDS, EMBEDDINGS, complete=False)
    with pytest.raises(ArtifactError, match=f"holds {ITEMS + 300} items; allowed: the {ITEMS} of its catalogue"):
        expect_same_items(collection, IDS, EMBEDDINGS, complete=True)


def test_a_collection_of_other_items_or_vectors_is_refused_by_name(address):
    place = address("compared")
    collection = open_collection(EngineAddress.parse(place))
    with pytest.raises(EngineError, match="compared: there is no such"):
        expect_same_items(collection, IDS, EMBEDDINGS, complete=True)
    collection.upsert(batches(IDS, EMBEDDINGS))
    expect_same_items(collection, IDS, EMBEDDINGS, complete=True)
    with pytest.raises(ArtifactError, match="lacks item 'other-0'"):
        expect_same_items(collection, np.char.replace(IDS, IDS[0], "other-0"), EMBEDDINGS, complete=True)
    with pytest.raises(ArtifactError, match="has vectors of 16 numbers; allowed: 8"):
        expect_same_items(collection, IDS, EMBEDDINGS[:, :8], complete=True)
    with pytest.raises(ArtifactError, match="whose cosine to the catalogue's is"):
        expect_same_items(collection, IDS, EMBEDDINGS[::-1], complete=True)


def test_a_column_that_is_not_there_is_refused_by_name(address):
    place = address("columns")
    stored(place, IDS[:50], EMBEDDINGS[:50])
    with pytest.raises(EngineError, match="no column .*vec"):
        open_collection(EngineAddress.parse(f"{place}&vector=vec")).dimension()
