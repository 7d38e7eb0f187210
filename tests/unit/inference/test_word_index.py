"""BM25 over stems, and words that are spelt alike."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.data.ngrams import words_of
from modit.inference.spelling import Spelling
from modit.inference.word_index import WordIndex

TITLES = [
    "red paint",
    "red brush, red",
    "green paint can",
    "claw hammer",
    "paint",
    "wheelbarrow 6 cu. ft.",
    "paintbrush",
]
WORD = st.text("abcdé1", min_size=1, max_size=9)


@pytest.mark.parametrize("text", ["red paint", "paint paint can", "6 brush", "zzz red"])
def test_with_a_likeness_of_one_scores_are_those_of_the_package(text):
    package = bm25s.BM25(method="lucene", k1=0.6, b=0.3)
    package.index([words_of(title) for title in TITLES], show_progress=False)
    expected = package.get_scores([word for word in words_of(text) if word in package.vocab_dict])
    np.testing.assert_allclose(WordIndex.build(TITLES, 0.6, 0.3).scores([text])[0], expected, rtol=1e-5)


def test_a_misspelt_word_counts_as_the_word_that_was_meant():
    exact, alike = WordIndex.build(TITLES, 1.2, 0.75), WordIndex.build(TITLES, 1.2, 0.75, likeness=0.25)
    np.testing.assert_allclose(alike.scores(["weelbarow"]), exact.scores(["wheelbarrow"]), rtol=1e-5)
    assert not exact.scores(["weelbarow"]).any() and not alike.knows("weelbarow")


def test_of_words_like_an_unknown_one_each_counts_by_its_likeness_and_of_an_item_the_best():
    titles = ["hammer", "hammock", "hammock hammer", "nail"]
    exact, alike = WordIndex.build(titles, 1.2, 0.0), WordIndex.build(titles, 1.2, 0.0, likeness=0.25)
    places, likeness = Spelling(["hammer", "hammock", "nail"]).alike("hammers", 0.25)
    assert places.tolist() == [0, 1]
    share = np.float32(likeness[1] / likeness[0])
    expected = np.maximum(exact.scores(["hammer"]), share * exact.scores(["hammock"]))
    np.testing.assert_allclose(alike.scores(["hammers"]), expected, rtol=1e-5)


@given(st.lists(st.sampled_from(["paint", "red", "can", "hammer", "6", "brush"]), min_size=1, max_size=5))
def test_known_words_score_as_without_words_like_them(words):
    exact, alike = WordIndex.build(TITLES, 1.2, 0.75), WordIndex.build(TITLES, 1.2, 0.75, likeness=0.25)
    np.testing.assert_array_equal(alike.scores([" ".join(words)]), exact.scores([" ".join(words)]))


def test_stems_are_shared_by_the_forms_of_a_word():
    index = WordIndex.build(TITLES, 1.2, 0.75, "english")
    np.testing.assert_array_equal(index.scores(["hammering paints"]), index.scores(["hammer paint"]))
    assert index.knows("hammers") and not index.knows("nails")


@given(st.lists(WORD, min_size=1, max_size=12, unique=True), WORD, st.floats(0.05, 1.0))
def test_likeness_is_the_jaccard_index_of_all_words_of_the_vocabulary(vocabulary, word, least):
    def parts(text):
        around = f"<{text}>"
        return {around[start : start + n] for n in (2, 3) for start in range(len(around) - n + 1)}

    own = parts(word)
    expected = {place: len(own & parts(each)) / len(own | parts(each)) for place, each in enumerate(vocabulary)}
    places, likeness = Spelling(vocabulary).alike(word, least)
    assert dict(zip(places.tolist(), likeness.tolist(), strict=True)) == {
        place: pytest.approx(value) for place, value in expected.items() if value >= least
    }
    assert (np.diff(likeness) <= 0).all()


def test_of_many_words_alike_the_thirty_nearest_count():
    vocabulary = [f"{number}hammer" for number in range(100, 200)] + ["hammer"]
    places, likeness = Spelling(vocabulary).alike("hammer", 0.25)
    assert len(places) == 30 and places[0] == 100 and likeness[0] == 1.0


@pytest.mark.parametrize("text", ["", "?!", "дрель", "a"])
def test_a_text_of_no_known_word_scores_nothing(text):
    for likeness in (0.25, 1.0):
        assert not WordIndex.build(TITLES, 1.2, 0.75, "english", likeness).scores([text]).any()
