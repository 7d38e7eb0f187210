"""Exported towers: the vectors and lists of torch, files that belong together, and lists that are never short."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ArtifactError, ContractError
from modit.export.parity import ParityError
from modit.export.towers import search_parity
from modit.index.consistent_index import ConsistentIndex
from modit.inference.search import load_search
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex
from tests.unit.serve.text_bundles import BM25, COLOURS, DIGEST, THINGS, export, retriever_of

TITLES = [f"{colour} {thing} {number} in." for number in range(4) for colour in COLOURS for thing in THINGS]
IDS = np.array([f"item-{number}" for number in range(len(TITLES))])
NONE = np.empty(0, np.int64)


@pytest.fixture(scope="module", params=[True, False], ids=["over a space", "n-grams alone"])
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("towers") / "exported"
    made.mkdir()
    export(made, TITLES, IDS, 0, request.param)
    return made


@pytest.fixture
def space(folder):
    return (folder / "text_space.npz").is_file()


@pytest.fixture(scope="module")
def retriever(folder):
    return load_search(folder, IDS)


@pytest.fixture
def copy(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def ask(retriever, text="red paint", k=10, **how):
    (found,) = retriever.retrieve([TextQuery(text, k, **how)])
    return found


def test_the_files_give_the_vectors_and_lists_of_torch_and_other_towers_do_not(retriever, space):
    by_torch = retriever_of(TITLES, IDS, 0, space)
    texts = ["red paint", "a", "門把手", "Türgriff 1/2", "word " * 500, *TITLES[:40]]
    parity = search_parity(by_torch.towers, retriever, texts, 10)
    assert parity["status"] == "passed" and parity["greatest_difference"] < 1e-5 and parity["identical"] == 1.0
    with pytest.raises(ParityError, match="query tower, batches of 1: vectors differ by"):
        search_parity(retriever_of(TITLES, IDS, 1, space).towers, retriever, texts, 10)


def test_one_export_gives_the_same_bytes(folder, tmp_path, space):
    export(tmp_path, TITLES, IDS, 0, space)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


@pytest.mark.parametrize("text", ["red paint", "paint paint green", "zzz unknown", "lampe"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_list_is_the_weighted_sum_of_words_and_vectors_where_all_lists_are_visited(retriever, text, weight):
    index = ConsistentIndex(
        retriever.index._content, retriever.index.centroids, replace(retriever.index.facts, probes=10)
    )
    full = replace(retriever, index=index, depth=len(IDS), weight=weight)
    cosines = np.round(full.vectors @ full.towers.encode([text], "query")[0], 6)
    (words,) = full.words.scores([text])
    assert words.any() == (text != "zzz unknown")
    scores = (weight * cosines + (1 - weight) * words / max(words.max(), 1e-6)).astype(np.float32)
    expected = np.lexsort((full.ties, -scores))[:10]
    found = ask(full, text, judged=np.array([3, 7]))
    assert found.rows.tolist() == expected.tolist()
    np.testing.assert_allclose(found.scores, scores[expected], rtol=1e-5)
    np.testing.assert_allclose(found.judged, scores[[3, 7]], rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    allowed=st.sets(st.integers(0, len(TITLES) - 1), min_size=1),
    exclude=st.sets(st.integers(0, len(TITLES) - 1)),
    k=st.integers(1, len(TITLES)),
    text=st.sampled_from(["red paint", "zzz", "white drill 3 in."]),
)
def test_filters_and_exclusions_hold_and_a_list_is_never_short(retriever, allowed, exclude, k, text):
    mask = np.zeros(len(TITLES), bool)
    mask[list(allowed)] = True
    found = ask(retriever, text, k, allowed=mask, exclude=np.array(sorted(exclude), np.int64))
    may = allowed - exclude
    assert set(found.rows.tolist()) <= may and len(set(found.rows.tolist())) == len(found.rows) == min(k, len(may))
    assert (np.diff(found.scores) <= 0).all()


def test_a_text_without_a_known_word_or_one_spelt_alike_is_answered_by_the_towers_alone(retriever):
    found = ask(retriever, "zzz", k=5)
    near = np.round(retriever.vectors @ retriever.towers.encode(["zzz"], "query")[0], 6)
    assert not retriever.words.knows("zzz") and (retriever.words.scores(["zzz"]) == 0).all()
    np.testing.assert_allclose(found.scores, retriever.weight * near[found.rows], rtol=1e-5)
    assert near[found.rows[0]] >= np.quantile(near, 0.9)


def test_a_misspelt_word_finds_the_items_of_the_word(retriever):
    assert not retriever.words.knows("hamer")
    assert all("hammer" in TITLES[row] for row in ask(retriever, "hamer").rows)


def test_texts_of_a_batch_get_what_each_gets_alone(retriever):
    asked = [TextQuery(text, 3 + number) for number, text in enumerate(["red paint", "zzz", "blue lamp 2", "a"])]
    for request, found in zip(asked, retriever.retrieve(asked), strict=True):
        (alone,) = retriever.retrieve([request])
        assert found.rows.tolist() == alone.rows.tolist()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (TextQuery(" ?!", 3), "1 texts have no letter or digit"),
        (TextQuery("", 3), "1 texts have no letter or digit"),
        (TextQuery("red", 0), "k is 0; allowed: at least 1"),
        (TextQuery("red", 3, exclude=np.array([len(TITLES)])), "exclude has row 240; allowed: 0 to 239"),
        (TextQuery("red", 3, judged=np.array([-1])), "judged has row -1"),
        (TextQuery("red", 3, allowed=np.ones(3, bool)), r"allowed is bool \(3,\)"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(retriever, request_, message):
    with pytest.raises(ContractError, match=message):
        retriever.retrieve([request_])


def test_one_item_is_found_by_any_text_however_many_are_wanted(tmp_path):
    export(tmp_path, ["red paint"], np.array(["only"]), 0, space=False)
    only = load_search(tmp_path, np.array(["only"]))
    assert [ask(only, text, 50).rows.tolist() for text in ("red paint", "дрель")] == [[0], [0]]
    assert ask(only, "red", 5, exclude=np.array([0])).rows.tolist() == []


def test_an_index_of_other_towers_is_refused_and_says_what_to_do(copy):
    document = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(document | {"towers": "d" * 64}))
    with pytest.raises(ArtifactError, match="index.json: its sha256 is"):
        load_search(copy, IDS)
    index = ConsistentIndex.load(copy)
    with pytest.raises(
        ArtifactError, match=f"built with towers {'d' * 64}; it cannot answer queries of towers {DIGEST}"
    ):
        index.expect_towers(DIGEST)


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("search.json", "items", 0, "field items is 0; allowed: a whole number of at least 1"),
        ("search.json", "weight", -1, "field weight is -1; allowed: a number from 0 to 1"),
        ("search.json", "bm25", {"k1": 1.2, "b": 0.75}, "field bm25 is .*; allowed: k1, b, stemmer and likeness"),
        ("search.json", "bm25", BM25 | {"stemmer": "klingon"}, "allowed: a stemmer of none, arabic, .*english"),
        ("search.json", "bm25", BM25 | {"likeness": 0}, "allowed: a likeness above 0, at most 1"),
        ("search.json", "words_max", 32, "field words_max is 32; this version of modit reads texts with 64"),
        ("search.json", "format", "modit-search/1", "field format is 'modit-search/1'"),
        ("search.json", "dimension", 8, "item_vectors.npy has shape"),
        ("search.json", "towers_digest", "e" * 64, "the consistent index was built with towers cc"),
        ("search.json", "item_ids_digest", "e" * 64, "was exported for other items"),
    ],
)
def test_an_edited_document_is_refused_by_field(copy, name, field, value, message):
    document = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps(document | {field: value}))
    with pytest.raises(ArtifactError, match=message):
        load_search(copy, IDS)


def test_a_document_that_denies_its_text_space_is_refused(copy, space):
    document = json.loads((copy / "search.json").read_text())
    (copy / "search.json").write_text(json.dumps(document | {"space": not space}))
    with pytest.raises(ArtifactError, match=f"field space is {not space}, and files say otherwise"):
        load_search(copy, IDS)


@pytest.mark.parametrize("name", ["query.onnx", "item_vectors.npy", "words.json", "index.faiss", "word_scores.npy"])
def test_a_missing_or_damaged_file_is_refused_by_name(copy, name):
    (copy / name).write_bytes(b"?")
    with pytest.raises(ArtifactError, match=name):
        load_search(copy, IDS)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_search(copy, IDS)


def test_an_index_of_words_has_the_same_bytes_in_any_order_of_sets_and_reads_back(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        WordIndex.build(TITLES, **BM25).save(tmp_path / name)
    vocabulary = json.loads((tmp_path / "a" / "words.json").read_text())
    assert list(vocabulary) == sorted(vocabulary)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    texts = ["red paint", "zzz", "paints paint", "hamer"]
    again, built = WordIndex.load(tmp_path / "a", BM25["stemmer"], BM25["likeness"]), WordIndex.build(TITLES, **BM25)
    np.testing.assert_array_equal(again.scores(texts), built.scores(texts))
