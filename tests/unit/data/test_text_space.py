"""The text space: a word of a general language finds items whose titles do not have it."""

from __future__ import annotations

import numpy as np
import pytest

from modit.core.errors import MissingExtraError
from modit.data.general_words import general_vectors, general_words
from modit.data.text_space import GeneralWords, TextSpace

TITLES = ["Ground coffee, dark roast", "Coffee beans 1 kg", "Leather boots", "Rubber boots", "Green tea", "Garden hose"]
GENERAL = GeneralWords(["espresso", "wellies"], general_vectors, 0.6)


@pytest.fixture(scope="module")
def space():
    return TextSpace.fit(TITLES, 6, GENERAL)


def test_a_word_that_no_title_has_is_near_the_items_that_it_means(space):
    assert int((space.items @ space.encode(["espresso"])[0]).argmax()) in (0, 1)
    assert TextSpace.fit(TITLES, 6).known("espresso") == [] and space.known("espresso wellies") != []


def test_a_word_that_is_not_known_counts_for_nothing(space):
    assert np.allclose(space.encode(["coffee qwrtzp"]), space.encode(["Coffee!"]), atol=1e-6)


def test_one_fit_gives_the_same_bytes_and_vectors_of_unit_length(space, tmp_path):
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        TextSpace.fit(TITLES, 6, GENERAL).save(tmp_path / str(number))
    first, second = ((tmp_path / str(number) / "text_space.npz").read_bytes() for number in range(2))
    assert first == second
    assert np.allclose(np.linalg.norm(space.items, axis=1), 1, atol=1e-5) and space.words.tolist() == sorted(
        space.words
    )


def test_tokens_are_the_text_and_its_first_known_words(space):
    tokens, valid = space.tokens(["green coffee qwrtzp beans", "tea"], 2)
    assert valid.tolist() == [[True, True, True], [True, True, False]]
    assert np.allclose(tokens[0], space.encode(["green coffee beans", "green", "coffee"]), atol=1e-6)
    assert (tokens[1, 2] == 0).all()


def test_general_words_are_lower_case_words_with_unit_vectors():
    words = general_words()
    assert {"coffee", "paint"} <= words and all(word == word.lower() and word.isalpha() for word in words)
    assert np.allclose(np.linalg.norm(general_vectors(["coffee", "qwrtzp"]), axis=1), 1, atol=1e-5)


def test_without_the_package_the_parameter_that_needs_it_is_named(monkeypatch):
    from modit.data import general_words as module

    monkeypatch.setitem(__import__("sys").modules, "wordllama", None)
    module._model.cache_clear()
    with pytest.raises(MissingExtraError, match=r"general_share above 0 needs wordllama.*modit\[text\]"):
        general_words()
    monkeypatch.undo()
    module._model.cache_clear()
